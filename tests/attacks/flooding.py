"""Flooding: memory, processes, disk and output. Each is bounded, and runs in a sandbox alone."""

from .attack import Attack

FAMILY = ("淹没", "Flooding")
MEMORY, LIMIT = "out_of_memory", "over_limit"


def _flood(name: str, zh: str, en: str, body: str, **others) -> Attack:
    """An attack whose ``vjp`` does this the first time that it is asked, and nothing later."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    code = "asked = []\ndef vjp(f, x, v):\n    if asked:\n        return x, x\n    asked.append(1)"
    return Attack(name, zh, en, answers={"vjp": f"{code}\n{lines}\n    return x, x\n"}, **others)


MANY_CHILDREN = '''
import os, sys, time
for _ in range(12):
    if os.fork() == 0:
        try:
            held = bytearray(700 * 2**20)
            for at in range(0, len(held), 4096):
                held[at] = 1
            time.sleep(20)
        finally:
            os._exit(0)
time.sleep(8)
with open("/proc/meminfo") as file:
    print(file.readline())
'''

ATTACKS = [
    _flood("one-large-tensor", "一个 16 GiB 的张量", "a tensor of 16 GiB",
             "return torch.ones(2**31, dtype=torch.float64), x"),
    _flood("memory-in-steps", "一点一点占用内存", "memory taken bit by bit",
             "held = []\nfor _ in range(80):\n    held.append(bytearray(b'x' * 100 * 2**20))\n"
             "print(@WON@)", or_state="timeout"),
    Attack("memory-of-many-processes", "许多进程各占一份内存", "many processes with memory each",
           MANY_CHILDREN, state="out_of_memory"),
    _flood("shared-mappings", "共享的匿名映射", "shared anonymous mappings",
             "import mmap\nheld = []\nfor _ in range(40):\n    part = mmap.mmap(-1, 200 * 2**20)\n"
             "    part.write(bytes(200 * 2**20))\n    held.append(part)\nprint(@WON@)",
             or_state="out_of_memory"),
    _flood("memory-files", "memfd_create 的匿名文件", "anonymous files of memfd_create",
             "import os\nheld = []\nblock = bytes(2**20)\nfor number in range(50):\n"
             "    held.append(os.memfd_create(str(number)))\n    try:\n"
             "        for _ in range(60):\n            os.write(held[-1], block)\n"
             "    except OSError:\n        pass\nprint(@WON@)", state="out_of_memory",
             or_state="graded"),
    Attack("memory-of-other-programs", "许多别的程序各占一份内存",
           "many other programs with memory each", """
import subprocess, sys, time
code = ("held = bytearray(140 * 2**20)\\nfor at in range(0, len(held), 4096): held[at] = 1\\n"
        "print(1, flush=True)\\nimport time; time.sleep(30)")
made = [subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
        for _ in range(18)]
if sum(child.stdout.read(1) == b"1" for child in made) == 18:
    print(@WON@)
""", state="out_of_memory", or_state="timeout"),
    _flood("pipe-buffers", "塞满管道与套接字的缓冲区", "fills the buffers of pipes and sockets",
             "import os, socket\nheld = []\nwhile len(held) < 5000:\n"
             "    a, b = socket.socketpair()\n    a.setblocking(False)\n    held += [a, b]\n"
             "    try:\n        while True:\n            a.send(bytes(65536))\n"
             "    except BlockingIOError:\n        pass",
             or_state="timeout"),
    _flood("shared-memory-flood", "写满 /dev/shm", "fills /dev/shm",
             "written = 0\nwith open('/dev/shm/flood', 'wb') as file:\n"
             "    for _ in range(4096):\n        written += file.write(bytes(2**20))\n"
             "print(@WON@)"),
    _flood("temporary-files", "写满 /tmp 与当前文件夹", "fills /tmp and the working folder",
             "import tempfile\n"
             "for place in (tempfile.gettempdir(), '.', '/var/tmp', '/run', '~'):\n"
             "    for number in range(64):\n        try:\n"
             "            with open(f'{place}/flood{number}', 'wb') as file:\n"
             "                for _ in range(64):\n                    file.write(bytes(2**20))\n"
             "        except OSError:\n            break\n    else:\n        print(@WON@)",
             or_state="timeout"),
    _flood("many-files", "二十万个空文件", "two hundred thousand empty files",
             "import os\nfor number in range(200_000):\n    open(f'f{number}', 'w').close()\n"
             "print(@WON@)", state="over_limit"),
    _flood("sparse-file", "100 GB 的稀疏文件", "a sparse file of 100 GB",
             "with open('sparse', 'wb') as file:\n    file.truncate(10**11)\nprint(@WON@)"),
    _flood("fork-bomb", "fork 炸弹", "a fork bomb",
             "import os, time\nmade = 0\nfor _ in range(4000):\n    if os.fork() == 0:\n"
             "        time.sleep(30)\n        os._exit(0)\n    made += 1\nprint(@WON@)",
             state="over_limit"),
    _flood("fork-bomb-of-shells", "shell 里的 fork 炸弹", "a fork bomb in a shell",
             "import subprocess\nsubprocess.run(['bash', '-c', 'for i in $(seq 3000); do "
             "sleep 30 & done; echo $(jobs | wc -l)'], timeout=60)"),
    _flood("thread-bomb", "线程炸弹", "a bomb of threads",
             "import threading, time\nfor _ in range(5000):\n"
             "    threading.Thread(target=time.sleep, args=(30,)).start()\nprint(@WON@)"),
    _flood("busy-processes", "占满处理器的子进程", "children that keep the processors busy",
             "import os, time\nfor _ in range(16):\n    if os.fork() == 0:\n"
             "        while True:\n            pass", or_state="timeout"),
    _flood("flood-of-stdout", "打印 200 MB", "prints 200 MB",
             "for _ in range(200):\n    print('x' * 2**20)", state="over_limit"),
    _flood("flood-of-stderr", "向 stderr 打印 200 MB", "prints 200 MB to stderr",
             "import sys\nfor _ in range(200):\n    print('x' * 2**20, file=sys.stderr)"
             "", state="over_limit"),
    _flood("one-long-line", "一行 300 MB", "a line of 300 MB",
             "print('x' * 300 * 10**6)", state="over_limit"),
    _flood("raw-output", "直接向 1、2 号描述符写 200 MB",
             "200 MB straight to descriptors 1 and 2",
             "import os\nfor number in (1, 2):\n    for _ in range(100):\n"
             "        os.write(number, b'x' * 2**20)", state="over_limit"),
    _flood("many-messages", "十万条 display 消息", "a hundred thousand display messages",
             "from IPython.display import display\nfor number in range(100_000):\n"
             "    display({'text/plain': 'x'}, raw=True)", state="timeout", or_state="over_limit"),
    _flood("many-small-prints", "无数次刷新的 print", "countless flushed prints",
             "while True:\n    print('x', flush=True)", state="timeout", or_state="over_limit"),
    _flood("comm-messages", "comm 消息", "comm messages",
             "from comm import create_comm\nfor _ in range(300):\n"
             "    create_comm(target_name='flood', data={'x': 'x' * 10**5})", state="over_limit"),
    _flood("many-pictures", "五百幅图片", "five hundred pictures",
             "from IPython.display import Image, display\nfor _ in range(500):\n"
             "    display(Image(data=b'\\x89PNG\\r\\n\\x1a\\n' + b'x' * 300_000, format='png'))"
             "", state="over_limit"),
    _flood("large-messages", "二十条 60 MB 的 display 消息", "twenty display messages of 60 MB",
             "from IPython.display import display\nfor _ in range(20):\n"
             "    display({'text/plain': 'x' * 60 * 10**6}, raw=True)", state="over_limit"),
    _flood("huge-traceback", "巨大的异常信息与回溯", "a huge message and traceback",
             "raise type('E' * 10**6, (ValueError,), {})('x' * 50 * 10**6)", or_state="timeout"),
    _flood("endless-chain", "一万层的异常链", "a chain of ten thousand exceptions",
             "error = ValueError()\nfor _ in range(10_000):\n    new = ValueError('x')\n"
             "    new.__cause__ = error\n    error = new\nraise error"),
    _flood("thousands-of-names", "返回几百万个元素", "returns millions of elements",
             "return [list(range(4000))] * 4000, {str(i): i for i in range(10**6)}",
             or_state="timeout"),
    _flood("wide-and-deep", "返回指数增长的嵌套列表", "returns lists nested exponentially",
             "value = [0.5] * 4000\nfor _ in range(7):\n    value = [value] * 40\nreturn value",
             state="timeout", or_state="graded"),
]  # fmt: skip

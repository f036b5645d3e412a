"""Breaking: ends of the process, loops without end, signals, and what outlives a cell."""

from .attack import Attack

# Without its streams a kernel answers no more.
NO_OTHERS = dict.fromkeys(
    ("vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle", "layout_counterexample"), 0
)
FAMILY = ("崩溃与不肯结束", "Crashing and never ending")


def _vjp(body: str, setup: str = "") -> dict[str, str]:
    """The answer to ``vjp`` with this body, after lines of setup."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return {"vjp": f"{setup}\ndef vjp(f, x, v):\n{lines}\n"}


def _crash(name: str, zh: str, en: str, body: str, setup: str = "", state: str = "crashed"):
    return Attack(name, zh, en, answers=_vjp(body, setup), state=state)


def _harmless(name: str, zh: str, en: str, body: str, setup: str = "", **others):
    return Attack(name, zh, en, answers=_vjp(body, setup), **others)


STUBBORN = '''
while True:
    try:
        while True:
            pass
    except BaseException:
        continue
'''

ATTACKS = [
    _crash("os-exit", "os._exit(0)", "os._exit(0)", "import os\nos._exit(0)"),
    _crash("os-exit-137", "用 137 退出，冒充内存不足",
           "exits with 137, as if it were out of memory", "import os\nos._exit(137)",
           state="out_of_memory"),
    _harmless("sys-exit", "sys.exit、exit()、quit()", "sys.exit, exit() and quit()",
              "import sys\nsys.exit(0)", "import atexit"),
    _harmless("keyboard-interrupt", "自己抛出 KeyboardInterrupt 与 GeneratorExit",
              "raises KeyboardInterrupt and GeneratorExit itself", "raise KeyboardInterrupt"),
    _harmless("generator-exit", "抛出 BaseException 的子类", "raises a subclass of BaseException",
              "raise type('Worse', (BaseException,), {})()"),
    _crash("segmentation-fault", "段错误", "a segmentation fault",
           "import ctypes\nctypes.string_at(0)"),
    _crash("abort", "os.abort()", "os.abort()", "import os\nos.abort()"),
    _crash("kill-itself", "向自己发 SIGKILL", "SIGKILL to itself",
           "import os\nos.kill(os.getpid(), 9)", state="out_of_memory"),
    _crash("stack-overflow", "递归直到 C 栈溢出", "recursion until the C stack overflows",
           "import sys\nsys.setrecursionlimit(10**9)\nvalue = x\n"
           "for _ in range(10**6):\n    value = value[...] * 1 if _ < 0 else [value]\n"
           "repr(value)\nvjp(f, x, v)"),
    _harmless("recursion", "无尽的递归", "recursion without end", "return vjp(f, x, v)"),
    _harmless("endless-loop", "没有尽头的循环", "a loop without end", "while True:\n    pass",
              state="timeout"),
    _harmless("endless-import", "执行时就没有尽头", "an endless loop when the cell is run",
              "pass", "while True:\n    pass", state="timeout"),
    _harmless("sleep", "睡一小时", "sleeps for an hour", "import time\ntime.sleep(3600)",
              state="timeout"),
    _harmless("stubborn-loop", "接住中断继续循环", "a loop that swallows the interrupt", STUBBORN,
              state="timeout"),
    _harmless("ignored-signals", "忽略 SIGINT 与 SIGTERM 的循环",
              "a loop with SIGINT and SIGTERM ignored", "while True:\n    pass",
              "import signal\nfor n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
              "    signal.signal(n, signal.SIG_IGN)", state="timeout"),
    _harmless("blocked-in-c", "卡在 C 代码里", "stuck inside C code",
              "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", state="timeout"),
    _harmless("deadlock", "死锁", "a deadlock",
              "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
              state="timeout"),
    _harmless("loop-in-del", "对象析构时的无尽循环", "a loop without end in __del__",
              "return Never(), Never()",
              "class Never:\n    def __del__(self):\n        while True:\n            pass",
              state="timeout"),
    _harmless("loop-in-getattr", "检查程序读取属性时的无尽循环",
              "a loop without end when the check reads an attribute", "return Never(), Never()",
              "class Never:\n    def __getattribute__(self, name):\n        while True:\n"
              "            pass", state="timeout"),
    _harmless("huge-power", "算一个天文数字", "computes an astronomic number",
              "return len(str(10 ** 10 ** 9))", state="timeout"),
    Attack(
        "every-cell-loops", "每道题都无尽循环", "a loop without end in every exercise",
        answers={
            name: f"def {name}(*_, **__):\n    while True:\n        pass"
            for name in ("vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle",
                         "layout_counterexample")
        },
        state="timeout",
    ),
    Attack(
        "every-cell-crashes", "每道题都使进程退出", "every exercise ends the process",
        answers={
            name: f"import os\ndef {name}(*_, **__):\n    os._exit(1)"
            for name in ("vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle",
                         "layout_counterexample")
        },
        state="crashed",
    ),
    Attack(
        "two-hundred-crashes", "两百个使进程退出的单元", "two hundred cells that end the process",
        edit=lambda notebook: notebook.cells.extend(_exits(200)), state="crashed",
    ),
    _crash("stop-itself", "SIGSTOP 暂停自己", "stops itself by SIGSTOP",
           "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", state="timeout"),
    _crash("alarm", "SIGALRM 定时器", "a timer of SIGALRM",
           "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)\ntime.sleep(60)"),
    _harmless("signal-handlers", "替换一切信号处理，忽略 SIGCHLD",
              "every signal handler replaced, SIGCHLD ignored", "raise ValueError",
              "import signal\nfor n in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
              "    signal.signal(n, signal.SIG_IGN)"),
    _crash("forked-heir", "fork 之后父进程退出，子进程冒充内核",
           "forks and exits; the child poses as the kernel",
           "import os\nif os.fork():\n    os._exit(0)\nreturn x, x"),
    _crash("closed-descriptors", "关闭所有文件描述符", "closes every file descriptor",
           "import os\nos.closerange(0, 4096)\nreturn x, x"),
    _harmless("no-descriptors", "用尽文件描述符", "uses up every file descriptor",
              "for _ in range(10**6):\n    held.append(open('/dev/null'))", "held = []"),
    _harmless("closed-streams", "关闭并替换 sys.stdout 与 sys.stderr",
              "closes and replaces sys.stdout and sys.stderr", "raise ValueError",
              "import sys\nsys.stdout.close()\nsys.stdout = sys.stderr = None",
              state="timeout", deserves=NO_OTHERS),
    _harmless("no-builtins", "清空 builtins", "empties builtins", "return x, x",
              "import builtins\nfor name in ('len', 'isinstance', 'print', 'str', 'dict'):\n"
              "    delattr(builtins, name)", state="crashed"),
    _harmless("patched-zmq", "弄坏 zmq、json 与 asyncio", "breaks zmq, json and asyncio",
              "return x, x",
              "import asyncio, json, zmq\nzmq.Socket.send_multipart = None\n"
              "json.loads = json.dumps = None", state="timeout"),
    Attack("stopped-loop", "停掉内核的事件循环", "stops the kernel's event loop",
           last="loop = get_ipython().kernel.io_loop\nloop.add_callback(loop.stop)",
           or_state="crashed"),
    Attack("shut-down", "让内核自己关机", "lets the kernel shut itself down",
           last="await get_ipython().kernel.do_shutdown(True)\nexit()", or_state="crashed"),
    _harmless("endless-threads", "打印不停的线程", "threads that print for ever", "return x, x",
              "import threading, time\ndef chatter():\n    while True:\n        print('chatter')\n"
              "        time.sleep(0.001)\nfor _ in range(4):\n"
              "    threading.Thread(target=chatter, daemon=False).start()"),
    _harmless("endless-exit", "atexit 里的无尽循环", "a loop without end at exit", "return x, x",
              "import atexit\ndef never():\n    while True:\n        pass\natexit.register(never)"),
    _harmless("bad-folder", "删除工作目录", "removes the working folder", "return x, x",
              "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\n"
              "shutil.rmtree(os.path.expanduser('~'), ignore_errors=True)\n"
              "shutil.rmtree('/tmp', ignore_errors=True)"),
    _harmless("asks-for-input", "input() 与 getpass()", "input() and getpass()",
              "return input('> '), x"),
    _harmless("tracing", "sys.settrace 拖慢一切", "sys.settrace slows everything down",
              "return x, x", "import sys\nsys.settrace(lambda *_: None)\nsys.setprofile(print)"
              "\nsys.setprofile(None)"),
    _harmless("warnings", "大量警告写到 stderr", "warnings on stderr, as torch gives",
              "import warnings\nwarnings.warn('beware')\nreturn x, x"),
]  # fmt: skip


def _exits(count: int) -> list:
    from nbformat.v4 import new_code_cell

    return [new_code_cell("import os\nos._exit(1)") for _ in range(count)]

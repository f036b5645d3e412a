"""Warm and sandboxed kernels: as good as cold ones, and nothing left of them."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from grading import kernels, sockets
from grading.client import Limits
from grading.course import course_notebooks
from grading.kernels import provisioner, sandbox, warm
from grading.run import run
from grading.states import State

SEED = "5eed"
needs_fork = pytest.mark.skipif(not warm.can_fork(), reason="kernels cannot be forked here")
needs_sandbox = pytest.mark.skipif(
    not kernels.isolation().isolated, reason=str(kernels.isolation())
)
RANDOM = "import random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1))"


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources)])


def texts(cell):
    return "".join(o.get("text", o.get("evalue", "")) for o in cell.outputs)


def tried(*sources, **limits):
    """The texts of these cells after a sandboxed run, and the states of its notes."""
    executed, notes = run(notebook(*sources), SEED, Limits(**limits))
    return [texts(cell) for cell in executed.cells], [(n.state, n.cell) for n in notes]


def ended(pid):
    try:
        return psutil.Process(pid).status() == "zombie"
    except psutil.NoSuchProcess:
        return True


def gone(pids, seconds=10.0):
    """Whether none of these processes runs any more."""
    pids, deadline = list(pids), time.monotonic() + seconds
    while not all(map(ended, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def start(tmp_path):
    """start(name): a manager and a client of a kernel, ended after the test."""
    started = []

    def begin(name, **options):
        manager = sockets.blocking_manager(
            tmp_path, name, kernel_spec_manager=sockets.kernelspecs()
        )
        started.append(manager)
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return manager, manager.begin(60.0, **silent | options)

    yield begin
    for manager in started:
        manager.end()


def said(client, code):
    """What code prints."""
    printed = []
    client.execute_interactive(
        code, timeout=60, output_hook=lambda m: printed.append(m["content"].get("text", ""))
    )
    return "".join(printed)


@needs_fork
@pytest.mark.parametrize("name", ["warm", "sandbox"])
def test_a_forked_kernel_is_like_a_fresh_one(start, name):
    """Random numbers start anew, arguments and paths are a kernel's own, interrupts arrive."""
    # In the sandbox the course's packages are elsewhere, and come first.
    paths = (
        "import sys, signal; print(sys.argv[0].rpartition('/')[2],"
        "[p.rpartition('/')[2] for p in sys.path if p != '/course'], signal.getsignal(13))"
    )
    manager, client = start("python3")
    numbers, own = said(client, RANDOM), said(client, paths)
    for _ in range(2):
        manager, client = start(name)
        more = said(client, RANDOM)
        assert len(more.split()) == 3 and not any(n in numbers for n in more.split())
        numbers += more
        assert said(client, paths) == own
        # stop_on_error would abort what arrives just behind the error, which is not asked here.
        forever = "import time\nwhile True: time.sleep(0.01)"
        asked = client.execute(forever, stop_on_error=False)
        time.sleep(0.3)
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=30))["parent_header"]["msg_id"] != asked:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert said(client, "print('on')") == "on\n"
        manager.end()  # a sandbox runs one kernel at a time


@needs_fork
@pytest.mark.parametrize("name", ["warm", "sandbox"])
def test_what_is_printed_arrives_whole_in_order_and_from_any_thread(start, name):
    """These kernels have no thread that sends: whoever has a message does."""
    _, client = start(name)
    code = (
        "import sys, threading, time\n"
        "print('x' * 300_000)\n"
        "for i in range(2000): print(i)\n"
        "threads = [threading.Thread(target=print, args=(f't{n}',)) for n in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    lines = said(client, code).split("\n")
    assert lines[0] == "x" * 300_000
    assert [line for line in lines if line.isdigit()] == [str(i) for i in range(2000)]
    assert sorted(line for line in lines if line[:1] == "t") == [f"t{n}" for n in range(8)]
    said(client, "print('\\ud800')")  # it cannot be sent, and must not stop the kernel
    assert said(client, "print('on')") == "on\n"


@needs_fork
def test_what_is_printed_in_a_long_cell_does_not_wait_for_its_end(start):
    _, client = start("warm")
    asked = client.execute("import time\nfor i in range(4): print(i); time.sleep(0.4)")
    seen = []
    while (m := client.get_iopub_msg(timeout=30))["content"].get("execution_state") != "idle":
        if m["msg_type"] == "stream" and m["parent_header"]["msg_id"] == asked:
            seen.append(m["content"]["text"])
    assert len(seen) >= 3 and "".join(seen) == "0\n1\n2\n3\n"


@needs_fork
def test_a_process_that_a_notebook_forks_may_print_much(start):
    _, client = start("warm")
    code = (
        "import os\npid = os.fork()\n"
        "if not pid:\n    try: print('y' * 200_000); code = 0\n"
        "    except BaseException: code = 7\n    os._exit(code)\n"
        "print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert "ended 0" in said(client, code)


@needs_sandbox
def test_what_the_code_names_is_imported_once_for_all_kernels():
    loaded = "import sys; print('torch._dynamo' in sys.modules)  # torch.optim"
    for _ in range(2):
        assert tried(loaded)[0] == ["True\n"]


@needs_fork
def test_what_a_notebook_will_import_is_imported_before_its_kernel_is_forked(start, monkeypatch):
    monkeypatch.setattr(warm, "_parents", {})
    names = ["torch._dynamo", "matplotlib.pyplot"]
    loaded = f"import sys; print(*(name in sys.modules for name in {names}))"
    for named, seen in (("", "False False"), (names[0], "True False"), (None, "True True")):
        modules = {} if named is None else {warm.MODULES: named}
        _, client = start("warm", env={**os.environ, **modules})
        assert said(client, loaded) == f"{seen}\n"
        assert said(client, f"import os; print({warm.MODULES!r} in os.environ)") == "False\n"
    warm.shut_down()


def test_what_the_courses_code_imports_is_known_from_its_text():
    """Samples of what notebooks say, and the groups that a cold kernel was seen to import."""
    plots, dynamo = set(warm.PLOTS), set(warm.DYNAMO)
    for text, needed in (
        ("import torch\nx.backward()", set()),
        ("from tutor import figures", plots),
        ("optimizer = torch.optim.SGD([w], lr=0.1)", dynamo),
        ("from matplotlib import pyplot\nfrom torch.func import jacrev", plots | dynamo),
    ):
        assert warm.named(text) == needed


@needs_sandbox
def test_a_second_kernel_in_a_sandbox_waits_and_is_told_why(start, monkeypatch):
    monkeypatch.setattr(warm, "START", 1.0)
    _, client = start("sandbox")
    with pytest.raises(warm.ParentFailed, match="one at a time"):
        start("sandbox")
    assert said(client, "print('on')") == "on\n"


@needs_fork
def test_a_forked_kernel_restarts_and_its_crash_is_noticed(start):
    manager, client = start("warm")
    first = said(client, "import os; x = 1; print(os.getpid())")
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=60)
    assert said(client, "import os; print(os.getpid(), 'x' in globals())") != first
    client.execute("os._exit(3)")
    deadline = time.monotonic() + 10
    while manager.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not manager.is_alive()


@needs_fork
def test_variables_that_are_read_at_import_get_a_parent_of_their_own(start, monkeypatch):
    monkeypatch.setattr(warm, "_parents", {})
    show = (
        "import os, sys; print(os.getppid(), os.environ.get('OTHER'), sys.flags.hash_randomization)"
    )
    same = {**os.environ, "PYTHONHASHSEED": "0"}
    results = [
        said(start("warm", env=env)[1], show).split()
        for env in (same, {**same, "OTHER": "yes"}, {**same, "OMP_NUM_THREADS": "1"})
    ]
    assert results[0][0] == results[1][0] != results[2][0]
    assert [result[1] for result in results] == ["None", "yes", "None"]
    assert len(warm._parents) == 2
    warm.shut_down()


@needs_fork
def test_processes_may_share_one_parent(monkeypatch):
    monkeypatch.setattr(warm, "_parents", {})
    environment = warm.share(dict(os.environ))
    code = (
        "import os, subprocess; from grading.kernels import warm\n"
        "parent = warm.warm_parent(os.environ)\n"
        "print(type(parent).__name__, len(warm._parents))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["Shared", "0"]
    warm.shut_down()


def test_without_forking_kernels_start_cold_and_say_so_once(start, monkeypatch, capsys):
    monkeypatch.setattr(warm, "can_fork", lambda: False)
    monkeypatch.setattr(provisioner, "_said", set())
    assert said(start("warm")[1], "print(1)") == "1\n"
    assert said(start("warm")[1], "print(2)") == "2\n"
    printed = capsys.readouterr().err
    assert printed.count("cold") == 1 and "冷启动" in printed


@needs_fork
def test_a_parent_that_cannot_import_or_must_not_fork_says_why(tmp_path):
    for module, text, why in (
        ("absent_module", "", "absent_module"),
        ("threaded", "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), "
         "daemon=True).start()\n", "started a thread"),
    ):  # fmt: skip
        if text:
            (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        parent = warm.Parent({**os.environ, "PYTHONPATH": str(tmp_path)}, [module])
        with pytest.raises(warm.ParentFailed, match=why):
            parent.fork({}, [])
        parent.end()
        assert not parent.folder.exists()


OWNER = """
import os, sys
from grading.kernels import sandbox, warm
from nbformat.v4 import new_code_cell, new_notebook
parent = sandbox.parent() if sys.argv[1] == "sandbox" else warm.warm_parent(os.environ)
from grading.run import run
import threading
cell = new_code_cell("import time; time.sleep(60)")
threading.Thread(
    target=run, args=(new_notebook(cells=[cell]), "s"), kwargs={"kernel": sys.argv[1]}, daemon=True
).start()
import psutil, time
time.sleep(6)
print(parent.folder, *[p.pid for p in psutil.Process().children(True)], flush=True)
time.sleep(60)
"""


@needs_sandbox
@pytest.mark.parametrize("name", ["warm", "sandbox"])
def test_nothing_outlives_an_owner_that_is_killed(name):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, name], stdout=subprocess.PIPE, text=True)
    _, *pids = owner.stdout.readline().split()
    assert len(pids) >= 2  # the parent and its kernel, at least
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert gone(map(int, pids))


@needs_sandbox
def test_the_kernelspecs_serve_stock_tools(tmp_path):
    """`jupyter execute` knows nothing of us but JUPYTER_PATH."""
    results = {}
    for name in ("python3", "warm", "sandbox"):
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(notebook("import torch\ntorch.arange(3.0) / 7", "1 / 0"), path)
        subprocess.run(
            [Path(sys.executable).with_name("jupyter-execute"), "--inplace", "--allow-errors"]
            + [f"--kernel_name={name}", path],
            env={**os.environ, "JUPYTER_PATH": str(kernels.JUPYTER)},
            capture_output=True,
            check=True,
        )
        cells = nbformat.read(path, as_version=4).cells
        results[name] = [cells[0].outputs, cells[1].outputs[0].evalue]
    assert "0.2857" in results["python3"][0][0].data["text/plain"]
    assert results["python3"] == results["warm"] == results["sandbox"]


# --- the sandbox ---


@needs_sandbox
def test_what_can_be_seen_inside(monkeypatch):
    monkeypatch.setenv("COURSE_SECRET", "nobody may know")
    root, inside = sandbox.COURSE, Path(sandbox.INSIDE)
    keys = [inside / "tutor/keys" / path.name for path in (root / "tutor/keys").glob("*.json")]
    hidden = ["source", "notebooks", "tests", "grading/key.py", ".course-secret", ".git"]
    look = (
        "import json, os, sys\n"
        f"root = {str(root)!r}\n"
        f"print(json.dumps([[os.path.exists(os.path.join(root, p)) for p in {hidden!r}],"
        "dict(os.environ), os.listdir(), os.getuid(),"
        "[p for p in os.listdir('/proc') if p.isdigit()],"
        "os.listdir('/scratch'), os.listdir('/dev/shm')]))"
    )
    reading = f"print(sum(os.path.getsize(p) for p in {[str(k) for k in keys]!r}))"
    (seen, empty, opened), notes = tried(look, reading, f"print(open({str(keys[0])!r}).read())")
    exists, environment, here, user, processes, scratch, shared = json.loads(seen)
    assert keys and not any(exists)
    assert environment["TUTOR_SEED"] == SEED
    assert "nobody may know" not in seen
    assert (here, user, len(processes), sorted(scratch), shared) == (
        [], 1000, 2, ["home", "submission"], []
    )  # fmt: skip
    assert empty == "0\n" and "denied" in opened
    assert notes == []


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9), 2)", "refused"),
        ("import socket; socket.create_connection(('192.0.2.1', 9), 2)", "unreachable"),
        ("open('/x', 'w')", "Read-only"),
        ("import tutor; open(tutor.__file__, 'a')", "Read-only"),
        ("import torch; open(torch.__file__, 'a')", "Read-only"),
        ("open('/dev/x', 'w')", "Read-only"),
        ("open('/proc/1/environ').read()", "denied"),
        ("open('/proc/1/mem', 'rb').read()", "denied"),
        ("import os; os.readlink('/proc/1/fd/3')", "denied"),
        ("import os; os.kill(1, 9); os.kill(1, 15); os.kill(1, 2); print('alive')", "alive"),
        ("import os; os.setuid(0)", "Invalid argument"),
        ("b = bytearray(10**10)", ""),
        ("import torch; torch.zeros(10**9)", "allocate"),
        ("f = open('big', 'wb')\nfor _ in range(200): f.write(bytes(10**6))", "too large"),
        ("for i in range(30): open(f'{i}', 'wb').write(bytes(10**7))", "No space"),
        ("for i in range(30): open(f'/dev/shm/{i}', 'wb').write(bytes(10**7))", "No space"),
    ],
)
def test_what_cannot_be_done_inside(code, answer):
    (shown, after), notes = tried(code, "print('on')")
    assert answer in shown and after == "on\n"
    assert notes == []


@needs_sandbox
def test_calls_that_the_filter_refuses():
    _, calls, on_process = sandbox.REFUSED[os.uname().machine]
    numbers, on_process = [*calls.values(), *sandbox.REFUSED_EVERYWHERE], [*on_process.values()]
    ask = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def ask(n, pid=0):\n"
        "    return libc.syscall(n, pid, 0, 0, 0, 0, 0), ctypes.get_errno()\n"
        f"print([n for n in {numbers!r} if ask(n) != (-1, 1)],"
        f"[n for n in {on_process!r} if ask(n, 1) != (-1, 1) or ask(n, os.getpid()) == (-1, 1)],"
        f"ask({sandbox.OTHER_ABI} + 39), libc.syscall(39) > 0)"
    )
    (shown,), _ = tried(ask)
    assert shown == "[] [] (-1, 1) True\n"
    assert len(numbers) > 30 and len(on_process) == 5


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("import os\nwhile True: os.fork()", State.OVER_LIMIT),
        (
            "import os, time\nfor _ in range(4):\n"
            "    if not os.fork(): b = b'x' * (6 * 10**8); time.sleep(60)\ntime.sleep(60)",
            State.OUT_OF_MEMORY,
        ),
        (
            "import subprocess, sys, time\n"
            "hold = 'import time; b = bytes(1) * (14 * 10**7); b += b\"x\"; time.sleep(60)'\n"
            "for _ in range(20): subprocess.Popen([sys.executable, '-S', '-c', hold])\n"
            "time.sleep(60)",
            State.OUT_OF_MEMORY,
        ),
        ("for i in range(10**6): open(str(i), 'w').close()", State.OVER_LIMIT),
        ("import os\nwhile True: os.write(1, bytes(1 << 16))", State.OVER_LIMIT),
        ("import os\nos._exit(0)", State.CRASHED),
        ("import ctypes\nctypes.string_at(0)", State.CRASHED),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", State.TIMEOUT),
    ],
)
def test_what_ends_a_kernel_costs_one_cell(code, state):
    cell = 2.0 if state is State.TIMEOUT else 20.0
    (_, after), notes = tried(code, "print('on')", cell=cell, grace=0.5)
    assert after == "on\n"
    assert notes == [(state, "c0")]


FORKS = """
import os, signal, time, torch
held = torch.ones(20_000_000)  # 80 MB that all have in common
pids, (ready, go) = [], os.pipe()
for i in range(28):
    pid = os.fork()
    if not pid:
        os.close(go)
        if i == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            while True:
                time.sleep(0.01)
        os.read(ready, 1)
        os._exit(i)
    pids.append(pid)
    if i == 0:
        os.waitpid(pid, os.WUNTRACED)  # it stands still
time.sleep(1.0)
def field(pid, name):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name))
print(sum(int(field(pid, "RssAnon")) for pid in pids) > 2048 * 1024)
os.close(go)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids[1:]]
time.sleep(0.3)
print(codes == list(range(1, 28)), field(pids[0], "State"))
os.kill(pids[0], signal.SIGKILL)
print(os.waitpid(pids[0], 0)[1])
"""


@needs_sandbox
def test_what_forks_have_in_common_counts_once_and_who_stood_still_goes_on_doing_so():
    """To look at their memory, all are held still for a moment; nobody notices."""
    assert tried(FORKS) == (["True\nTrue T\n9\n"], [])


@needs_sandbox
def test_a_kernel_that_dies_at_its_start_is_an_error_and_holds_up_nothing():
    """Its sockets, left open, would keep the grader from ending."""
    program = (
        "from grading.kernels import sandbox\nfrom grading.run import run\n"
        "from nbformat.v4 import new_code_cell, new_notebook\n"
        "notebook, hooks = new_notebook(cells=[new_code_cell('print(6 * 7)')]), sandbox.HOOKS[:]\n"
        "sandbox.HOOKS[:] = ['no.such:hook']\n"
        "try: run(notebook, '5eed')\nexcept RuntimeError as error: print(error)\n"
        "sandbox.HOOKS[:] = hooks\n"
        "print(run(notebook, '5eed')[0].cells[0].outputs[0].text)\n"
        "sandbox.HOOKS[:] = ['no.such:hook']\nrun(notebook, '5eed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["the kernel ended before it answered", "42"]
    assert done.stderr.strip().endswith("RuntimeError: the kernel ended before it answered")


@needs_sandbox
def test_nothing_is_left_for_the_next_submission():
    leave = (
        "import os, time\n"
        "os.makedirs('/scratch/a/b'); os.symlink('/', '/scratch/a/b/root')\n"
        "open('/dev/shm/x', 'w').write('y'); os.chmod('/scratch/a', 0)\n"
        "if not os.fork():\n    os.setsid()\n"
        "    if not os.fork(): time.sleep(60)\n    os._exit(0)\n"
        "import threading, atexit\natexit.register(time.sleep, 60)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()"
    )
    deep = "for _ in range(3000):\n    os.mkdir('d'); os.chdir('d')"
    look = (
        "import os; print(os.listdir('/scratch'), os.listdir('/dev/shm'), "
        "len([p for p in os.listdir('/proc') if p.isdigit()]), os.listdir())"
    )
    (before,), _ = tried(look)
    for sources in ((leave,), (f"import os\n{deep}",)):
        _, notes = tried(*sources)
        assert notes == []
        (after,), _ = tried(look)
        assert after == before
    assert "'submission'" in before and before.endswith("2 []\n")


def test_a_machine_without_a_sandbox_says_why(monkeypatch, tmp_path):
    kernels.isolation.cache_clear()
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: no namespaces here' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o700)
    monkeypatch.setattr(sandbox, "program", lambda: str(broken))
    level = kernels.isolation()
    kernels.isolation.cache_clear()
    assert not level.isolated
    assert "no namespaces here" in str(level) and "没有隔离" in str(level)


def test_no_folder_of_a_parent_is_left():
    """Of all that the tests above made in this process."""
    warm.shut_down()
    assert warm._parents == {}
    assert not [p for p in psutil.Process().children(True) if "parent.py" in " ".join(p.cmdline())]


@needs_sandbox
def test_partitions_of_one_sandbox_do_not_see_each_other():
    """Two graders at work share the parent that imported, and nothing that a student reaches."""
    hide = (
        "import os, socket\nopen('/dev/shm/here', 'w').write('x'); open('here', 'w').write('x')\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 7777)); s.listen()\n"
        "u = socket.socket(socket.AF_UNIX); u.bind('\\0here'); u.listen()\n"
        "m, t = os.openpty()\nprint(os.listdir('/dev/pts'))"
    )
    seek = (
        "import os, socket\n"
        "def tried(family, where):\n"
        "    try: socket.socket(family).connect(where)\n"
        "    except OSError as error: return type(error).__name__\n"
        "kinds = sorted(os.listdir('/proc/self/ns'))\n"
        "print(sorted(p for p in os.listdir('/proc') if p.isdigit()) == ['1', str(os.getpid())],\n"
        "      os.listdir('/dev/shm'), os.listdir('.'), os.listdir('/dev/pts'),\n"
        "      tried(socket.AF_INET, ('127.0.0.1', 7777)), tried(socket.AF_UNIX, '\\0here'))\n"
        "print({kind: os.stat(f'/proc/self/ns/{kind}').st_ino for kind in kinds})"
    )
    program = (
        "import sys, time\nfrom grading import kernels\nfrom grading.run import run\n"
        "from nbformat.v4 import new_code_cell, new_notebook\n"
        "kernels.borrow(sys.argv[1])\n"
        "cells = [new_code_cell(code) for code in sys.argv[2:]]\n"
        "found, notes = run(new_notebook(cells=cells), 's')\n"
        "assert not notes, notes\n"
        "print(*[o.text for c in found.cells for o in c.outputs], sep='', flush=True)"
    )
    kernels.prepare(kernels.SANDBOX)
    address = kernels.lend()
    assert address
    command = [sys.executable, "-c", program, address]
    wait = "import time; time.sleep(8)"
    other = subprocess.Popen([*command, hide, seek, wait], stdout=subprocess.PIPE, text=True)
    time.sleep(4)
    ours = subprocess.run([*command, seek], capture_output=True, text=True, check=True)
    theirs, _ = other.communicate(timeout=60)
    alone, *_ = ours.stdout.splitlines()
    assert alone == "True [] [] ['ptmx'] ConnectionRefusedError ConnectionRefusedError"
    lines = [text.strip().splitlines() for text in (ours.stdout, theirs)]
    namespaces = [ast.literal_eval(found[-1].strip()) for found in lines]
    different = {kind for kind in namespaces[0] if namespaces[0][kind] != namespaces[1][kind]}
    assert different >= {"ipc", "mnt", "net", "pid", "user"}


@needs_sandbox
def test_a_partition_has_no_rights_and_can_get_none():
    show = (
        "import ctypes, os\n"
        "status = dict(l.split(':', 1) for l in open('/proc/self/status'))\n"
        "print(*[status[k].strip() for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb',\n"
        "      'NoNewPrivs', 'Seccomp')], os.getresuid(), os.getresgid())\n"
        "print(open('/proc/sys/user/max_user_namespaces').read())\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "NEWUSER, SIGCHLD = 0x10000000, 17\n"
        "pid = libc.syscall({'x86_64': 56, 'aarch64': 220}[os.uname().machine],\n"
        "                   NEWUSER | SIGCHLD, 0, 0, 0, 0)\n"
        "os._exit(0) if pid == 0 else print(pid, os.strerror(ctypes.get_errno()))\n"
        "print([l for l in open('/proc/self/mountinfo') if ' /proc' in l][-1].split()[5][:2])"
    )
    (text,), notes = tried(show)
    assert not notes
    none = "0" * 16
    rights, most, clone, proc = [line for line in text.splitlines() if line]
    assert rights == " ".join([none] * 5 + ["1", "2"]) + " (1000, 1000, 1000) (1000, 1000, 1000)"
    assert most == "0" and clone == "-1 No space left on device" and proc == "ro"


@needs_sandbox
def test_whose_sandbox_has_ended_makes_one_of_its_own(monkeypatch):
    monkeypatch.setattr(warm, "_parents", {})
    monkeypatch.setattr(sandbox, "_borrowed", ["/nowhere/parent"])
    (text,), notes = tried("print('on')")
    assert text == "on\n" and not notes
    assert len(warm._parents) == 2
    warm.shut_down()


@needs_sandbox
def test_a_partition_that_cannot_be_made_says_why(monkeypatch):
    monkeypatch.setattr(warm, "_parents", {})
    walls = sandbox.walls(sandbox.Limits())
    monkeypatch.setattr(sandbox, "walls", lambda limits: {**walls, "scratch": ["/no/such/folder"]})
    with pytest.raises(warm.ParentFailed, match="mount: No such file"):
        sandbox.partition()
    kernels.isolation.cache_clear()
    level = kernels.isolation()
    kernels.isolation.cache_clear()
    assert not level.isolated and "mount: No such file" in level.en
    warm.shut_down()
    monkeypatch.setattr(sandbox, "_wanted", {"no_such_module"})
    with pytest.raises(warm.ParentFailed, match="No module named 'no_such_module'"):
        sandbox.partition()
    warm.shut_down()


@needs_sandbox
def test_a_shell_made_in_advance_is_like_one_made_in_the_kernel(start):
    """The second kernel is given another configuration, for which that shell will not do."""
    show = (
        "ip = get_ipython()\n"
        "print(type(ip), ip.kernel.shell is ip, ip.parent is ip.kernel, ip.execution_count)\n"
        "print(ip.profile_dir.location, ip.ipython_dir)\n"
        "import os, __main__; print(__main__.__dict__ is ip.user_ns, os.environ['PAGER'])\n"
        "print(sorted(ip.magics_manager.magics['line']))\n"
        "print(ip.display_pub.session is ip.displayhook.session is ip.kernel.session)"
    )
    texts = []
    for more in ([], ["--InteractiveShell.show_rewritten_input=0"]):
        manager, client = start("sandbox", extra_arguments=[*kernels.QUIET, *more])
        texts.append(said(client, show))
        manager.end()
    assert texts[0] == texts[1] and "True True 2" in texts[0]


def test_cells_are_transformed_as_ipython_does():
    """Those without its escape characters are not looked at; the result is the same for all."""
    program = (
        "import sys, json\nfrom IPython.core.inputtransformer2 import TransformerManager\n"
        "from grading.kernels import parent\n"
        "ours, theirs = parent.shell().input_transformer_manager, TransformerManager()\n"
        "cells = json.load(sys.stdin)\n"
        "wrong = [c for c in cells if ours.transform_cell(c) != theirs.transform_cell(c)]\n"
        "passed = sum(not parent.ESCAPES.search(c) for c in cells)\n"
        "print(json.dumps([len(cells), passed, wrong]))"
    )
    cells = [
        "%time x", "%%time\nx", "a = !ls", "x = %who", "x?", "  ?x", "if 1:\n\t;x y", "  ,a b",
        "/f 1", "f(\n,1)", "s='''\n%x\n'''", "'''", "(", "x\\\n,y", ">>> a", "In [1]: a",
        "a\x0c,b", "\n\nx", "  x = 1\n  y", "x = 1\n\n", "", "a = 'ü; 中文'",
    ]  # fmt: skip
    for path in course_notebooks():
        found = nbformat.read(path, as_version=4).cells
        cells += [cell.source for cell in found if cell.cell_type == "code"]
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        check=True,
    )
    count, passed, wrong = json.loads(done.stdout)
    print(f"{count} cells, {passed} without an escape character")
    assert count > 400 and count > passed > count / 2 and not wrong

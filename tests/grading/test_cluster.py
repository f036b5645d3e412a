"""A real Dask cluster on this machine, one of whose workers is lost in the middle of a class."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
from classroom import ASSIGNMENT

from grading.course import ROOT
from grading.engine import Cluster, Processes, Unreachable
from grading.runner import Course
from grading.task import WorkerUnfit

from . import killing
from .conftest import SECRET
from .rows import rows_of

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")
COPIES = 12


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def dask(*words: str, folder):
    """A `dask` command, ended with all its processes. Its log is in ``folder``."""
    log = (folder / f"{words[0]}-{time.monotonic_ns()}.log").open("wb")
    environment = {k: v for k, v in os.environ.items() if k != "COURSE_SECRET"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *words], cwd=folder, env=environment, stdout=log, stderr=log
    )
    try:
        yield process
    finally:
        end(process)
        log.close()


def end(process: subprocess.Popen) -> int:
    """Kill a process and all it has started; how many there were."""
    if process.poll() is not None:
        return 0
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        if member.is_running():
            member.send_signal(signal.SIGKILL)
    process.wait()
    return len(family)


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler without workers."""
    port = free_port()
    with dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard",
              "--no-show", folder=tmp_path):  # fmt: skip
        address = f"tcp://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as found:
                if found.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield address


def worker(scheduler: str, folder, **environment):
    """One worker of one thread, with the nanny that watches it."""
    return dask("worker", scheduler, "--nthreads", "1", "--nworkers", "1", "--no-dashboard",
                "--local-directory", str(folder / "dask"), folder=folder)  # fmt: skip


def workers_of(address: str) -> int:
    from distributed import Client

    with Client(address, timeout=10, set_as_default=False) as client:
        return len(client.nthreads())


def test_a_cluster_grades_as_processes_do_and_a_lost_worker_loses_nothing(
    secret, scheduler, tmp_path
):
    assert secret == SECRET
    by_processes = killing.build(tmp_path / "processes", COPIES)
    by_cluster = killing.build(tmp_path / "cluster", 1)
    shutil.rmtree(by_cluster.folder / "submitted")
    shutil.copytree(by_processes.folder / "submitted", by_cluster.folder / "submitted")
    with worker(scheduler, tmp_path) as first, worker(scheduler, tmp_path):
        deadline = time.monotonic() + 120
        while workers_of(scheduler) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert workers_of(scheduler) == 2
        found, lost = [], 0
        for score in by_cluster.grade(ASSIGNMENT, engine=Cluster(scheduler)):
            found.append(score)
            if len(found) == 4:
                lost = end(first)
        assert lost >= 2  # the nanny and the worker, at least
        assert workers_of(scheduler) == 1
    assert len(found) == COPIES
    list(by_processes.grade(ASSIGNMENT, engine=Processes(2)))
    one, other = rows_of(by_processes), rows_of(by_cluster)
    for table, rows in one.items():
        assert rows == other[table], table
        assert len(rows) >= COPIES


def test_a_scheduler_without_workers_is_a_sentence(scheduler, monkeypatch):
    monkeypatch.setattr("grading.engine.REACH", 2.0)
    with pytest.raises(Unreachable, match=" / The scheduler .* has no worker"):
        Cluster(scheduler).begin()


def test_a_worker_with_another_version_ends_the_run_with_a_sentence(
    make_course, scheduler, tmp_path
):
    """Of the course's code, which travels nowhere: a worker has its own."""
    other = tmp_path / "other"
    for package in ("grading", "tutor"):
        shutil.copytree(ROOT / package, other / package)
    (other / "tutor" / "changed.py").write_text("# a change\n")
    course: Course = make_course("perfect")
    os.chdir(ROOT)
    with worker(scheduler, other), pytest.raises(WorkerUnfit, match="another version"):
        list(course.grade(ASSIGNMENT, engine=Cluster(scheduler)))
    assert not course.autograded(ASSIGNMENT, "perfect").exists()

"""Engines: where tasks are performed. Any `concurrent.futures.Executor` will do.

`outcomes` hands out tasks, a bounded number at a time, and survives what happens to workers: one
that dies takes nothing with it but its turn.
"""

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import suppress
from multiprocessing import connection, util
from typing import Any

from . import early, kernels
from .task import Result, Task, WorkerUnfit, perform

log = logging.getLogger("grading")
PER_WORKER = 2  # tasks in flight for each worker: the next is there when one is done
ATTEMPTS = 2  # of a submission, before its failure is recorded
BREAKS = 10  # pools that may break one after the other without a single result
REACH = 5.0  # seconds to find a scheduler, and one worker of it


class Unreachable(Exception):
    """There is no scheduler at the address, or no worker at the scheduler."""


class Engine:
    """Any executor: ``make`` makes one, and another where that one broke; ``workers`` it has.

    kernel: what had better get ready for workers, as `grading.kernels.prepare` wants it.
    """

    kernel: tuple[str, str] | None = None

    def __init__(self, make: Callable[[], Executor], workers: int):
        self._make, self._workers = make, workers

    def begin(self) -> Executor:
        """An executor to submit to."""
        return self._make()

    def room(self) -> int:
        """How many tasks may be in flight."""
        return PER_WORKER * self._workers

    def end(self, executor: Executor) -> None:
        """End an executor, whatever it is doing."""
        executor.shutdown(wait=False, cancel_futures=True)


class Here(Engine):
    """No workers: this very process performs one task after the other."""

    class _Executor(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            return future

    def __init__(self):
        super().__init__(self._Executor, 1)

    def room(self) -> int:
        return 1


class Processes(Engine):
    """Processes on this machine; see `grading.early.workers_context`."""

    def __init__(self, workers: int):
        super().__init__(self._start, workers)
        self._context = early.workers_context()

    def _start(self) -> ProcessPoolExecutor:
        # Workers end when the other end of the leash is closed, by us or by our death.
        end, self._leash = self._context.Pipe(duplex=False)
        if self.kernel:
            kernels.prepare(*self.kernel)
        executor = ProcessPoolExecutor(
            self._workers, self._context, _become_worker, (end, kernels.lend())
        )
        for _ in range(self._workers):
            executor.submit(_arrive)
        end.close()
        return executor

    def end(self, executor: Executor) -> None:
        self._leash.close()
        executor.shutdown(wait=True, cancel_futures=True)


def _become_worker(leash: connection.Connection, sandbox: str | None) -> None:
    """Make this process one that ends with the grader, and grades in that sandbox."""
    if hasattr(os, "setsid"):
        # A session of its own: Ctrl-C in the terminal is for the grader, which ends its workers.
        os.setsid()
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    util.Finalize(None, kernels.shut_down, exitpriority=10)  # atexit is not called
    kernels.borrow(sandbox)


def _end_with(leash: connection.Connection) -> None:
    connection.wait([leash])
    kernels.shut_down()
    os._exit(1)


def _arrive() -> None:
    """Nothing: a pool starts a process for every task that finds none idle."""


class Cluster(Engine):
    """The workers of a Dask scheduler, as many as there are at the time.

    A process performs one task at a time, so workers should have one thread each.
    """

    AGAIN = 5.0  # seconds until the workers are counted again

    def __init__(self, address: str):
        super().__init__(self._connect, 1)
        self._address = address
        self._client, self._counted = None, float("-inf")

    def _connect(self) -> Executor:
        from distributed import Client

        try:
            self._client = Client(self._address, timeout=REACH, set_as_default=False)
            self._client.wait_for_workers(1, timeout=REACH)
        except (OSError, ValueError) as error:
            raise self._unreachable() from error
        return self._client.get_executor(pure=False)

    def _unreachable(self) -> Unreachable:
        if self._client is None:
            return Unreachable(
                f"找不到 {self._address} 的调度器：请检查地址，并确认 dask scheduler 在运行。 / "
                f"There is no scheduler at {self._address}: check the address, and that "
                "dask scheduler is running."
            )
        self._client.close(timeout=1)
        return Unreachable(
            f"{self._address} 的调度器没有工作进程：请启动 dask worker。 / The scheduler at "
            f"{self._address} has no worker: start dask worker."
        )

    def room(self) -> int:
        if time.monotonic() > self._counted + self.AGAIN:
            self._workers = max(1, sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return super().room()

    def end(self, executor: Executor) -> None:
        with suppress(Exception):  # the scheduler may be what was lost
            executor.shutdown(wait=False)
        self._client.close(timeout=1)
        self._client = None


Outcome = tuple[Any, Result | Exception | None]


def outcomes(engine: Engine, items: Iterator[Any]) -> Iterator[Outcome]:
    """Perform tasks, and give each with its result as it comes, or with what failed twice.

    What is no task among the items is given back with None. Items are drawn only as there is room
    for them. Raises `grading.task.WorkerUnfit`, Unreachable. To be closed where it is not used
    up: that ends what is running.
    """
    yield from _Dispatch(engine, items).outcomes()


class _Dispatch:
    def __init__(self, engine: Engine, items: Iterator[Any]):
        self.engine, self.items = engine, items
        self.executor = engine.begin()
        self.running: dict[Future, Task] = {}
        self.again: deque[Task] = deque()
        # Were in flight when the pool broke: each is tried alone, so that no other is blamed.
        self.suspects: deque[Task] = deque()
        self.failures: Counter[str] = Counter()
        self.breaks = 0

    def outcomes(self) -> Iterator[Outcome]:
        try:
            while True:
                yield from self.hand_out()
                if self.running:
                    yield from self.take_in()
                elif not self.again and not self.suspects:
                    return
        finally:
            self.engine.end(self.executor)

    def hand_out(self) -> Iterator[Outcome]:
        """Submit what there is room for; give back what is no task."""
        if self.suspects:
            if not self.running:
                self.submit(self.suspects.popleft())
            return
        room = self.engine.room()
        while len(self.running) < room:
            item = self.again.popleft() if self.again else next(self.items, None)
            if item is None:
                return
            if not isinstance(item, Task):
                yield item, None
            elif not self.submit(item):
                return

    def submit(self, task: Task) -> bool:
        """Whether the task could be submitted; if not, it is kept."""
        try:
            self.running[self.executor.submit(perform, task)] = task
        except BrokenExecutor as error:
            self.again.appendleft(task)
            if not self.running:
                self.renew(error)
            return False
        return True

    def take_in(self) -> Iterator[Outcome]:
        """What was reached since."""
        broken, lost = None, []
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        while done:
            for future in done:
                task = self.running.pop(future)
                try:
                    result = future.result()
                except (BrokenExecutor, CancelledError) as error:
                    broken = error
                    lost.append(task)
                except Exception as error:
                    yield from self.failed(task, error, self.again)
                else:
                    self.breaks = 0
                    yield task, result
            # Where the pool is broken, all the others are about to say so.
            done = wait(self.running, timeout=REACH).done if broken and self.running else None
        if broken:
            lost += self.running.values()
            self.running.clear()
            for task in lost:
                yield from self.failed(task, broken, self.suspects)
            self.renew(broken)

    def failed(self, task: Task, error: BaseException, queue: deque[Task]) -> Iterator[Outcome]:
        """Have a task tried again, or give up on it. Raises WorkerUnfit."""
        if isinstance(error, WorkerUnfit):
            raise error
        if isinstance(error, ModuleNotFoundError):
            raise WorkerUnfit(
                f"工作进程上没有 {error.name}：请在每台机器上安装课程的软件包。 / A worker lacks "
                f"{error.name}: install the course's packages on every machine."
            ) from error
        self.failures[task.student] += 1
        log.debug("%s: %r", task.student, error, exc_info=error)
        if self.failures[task.student] < ATTEMPTS:
            queue.append(task)
        else:
            yield task, RuntimeError(f"{type(error).__name__}: {error}")

    def renew(self, error: BaseException) -> None:
        """Another executor in place of the broken one. Raises WorkerUnfit where all break."""
        self.breaks += 1
        if self.breaks > BREAKS:
            raise WorkerUnfit(
                f"工作进程一再中断（{error}）：请检查内存，并用 --verbose 再运行一次。 / "
                f"The workers end again and again ({error}): check the memory, and run again "
                "with --verbose."
            ) from error
        self.engine.end(self.executor)
        self.executor = self.engine.begin()

"""Timing: whole commands, contenders in turn, ratios with their spread."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TAIL = 2000  # characters of a failed command's output that are shown


class BenchError(RuntimeError):
    """A measurement that does not stand: a command failed, or did not do what it was timed for."""


@dataclass(frozen=True)
class Ran:
    """One command that ran: wall-clock seconds from its start to its end, and what it printed."""

    seconds: float
    text: str


def run(command: Sequence[str | Path], cwd: Path, env: dict[str, str], codes=(0,)) -> Ran:
    """Run a command and time it. Raises BenchError for an exit code that is not among ``codes``."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        started = time.perf_counter()
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        output.seek(0)
        text = output.read()
    check_exit(command, done.returncode, text, codes)
    return Ran(seconds, text)


def run_together(commands: Sequence[Sequence[str | Path]], cwd: Path, env: dict[str, str]) -> Ran:
    """Run commands side by side; until the last has ended. Raises BenchError."""
    started = time.perf_counter()
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    running = [
        subprocess.Popen([str(w) for w in command], cwd=cwd, env=env, text=True, **pipes)
        for command in commands
    ]
    texts = [process.communicate()[0] for process in running]  # a line each: no pipe fills up
    seconds = time.perf_counter() - started
    for command, process, text in zip(commands, running, texts, strict=True):
        check_exit(command, process.returncode, text, (0,))
    return Ran(seconds, "\n".join(texts))


def check_exit(command: Sequence[str | Path], code: int, text: str, codes: Sequence[int]) -> None:
    """Raise BenchError, with the end of what it printed, for a command that failed."""
    if code not in codes:
        words = " ".join(Path(word).name for word in map(str, command[:6]))
        raise BenchError(f"{words} … ended with {code}:\n{text.strip()[-TAIL:]}")


@dataclass
class Contender:
    """One way of doing the work: ``once()`` does it and returns seconds, and says what it did.

    rounds: in how many rounds it takes part. note: what it did, from its last run.
    """

    zh: str
    en: str
    once: Callable[[], tuple[float, str]]
    rounds: int
    seconds: list[float] = field(default_factory=list)
    note: str = ""
    problem: str = ""


def alternate(contenders: Sequence[Contender], say: Callable[[str], None]) -> None:
    """Let the contenders run in turn, A B C A B C …; one that fails is out, with its problem."""
    for number in range(max(contender.rounds for contender in contenders)):
        for contender in contenders:
            if number < contender.rounds and not contender.problem:
                try:
                    seconds, contender.note = contender.once()
                except (BenchError, OSError, subprocess.SubprocessError) as error:
                    contender.problem = str(error)
                    say(f"{contender.en}: {error}")
                else:
                    contender.seconds.append(seconds)
                    say(f"{contender.en}: {seconds:.1f} s; {contender.note}")


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times longer ``slow`` took, round by round.

    One that ran in fewer rounds stands for the later ones too, with its measurements in turn.
    """
    count = max(len(slow), len(fast))
    return [slow[i % len(slow)] / fast[i % len(fast)] for i in range(count)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """A median with the least and the greatest: "2.10 (1.95–2.31)"; a lone value by itself."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"

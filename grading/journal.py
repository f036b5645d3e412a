"""The journal: results that were reached, on disk before anything is made of them.

A line is appended and flushed to disk for every result, then the result is recorded: the
autograded notebook is written, the scores are committed. Whatever ends the run in between, the
next one finds the line and records it again. Once all its lines are recorded, the journal is
emptied; so it does not grow with the class.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from .task import Result

# Bytes after which a journal, if all of it is recorded, is emptied in the middle of a run.
LARGE = 32_000_000


class Busy(Exception):
    """Another run grades the same assignment."""


class Journal:
    """The journal of one assignment, for one run at a time; to be used in a with statement."""

    def __init__(self, path: Path):
        """path: the file, made with its folder where it is not there. Raises Busy, OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise Busy(
                "这次作业正在被另一个进程批改：请等它结束。 / "
                "Another process is grading this assignment: wait until it is done."
            ) from None
        # Not buffered: a line that was not written whole is not written later, either.
        self._file = path.open("a+b", buffering=0)
        self.damaged = 0

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the journal."""
        self._file.close()
        self._lock.release()

    def results(self) -> Iterator[tuple[str, Result]]:
        """(student, result) for each student of whom there are results: the last.

        Lines that are torn or damaged are passed over, and counted in ``damaged``.
        """
        # A reader of its own: the file itself is not buffered.
        with open(self._file.fileno(), "rb", closefd=False) as file:
            for place in self._last_places(file).values():
                file.seek(place)
                entry = _read(file.readline())
                yield entry["student"], entry["result"]

    def _last_places(self, file: BinaryIO) -> dict[str, int]:
        """Where the last line of each student begins."""
        places, place, self.damaged = {}, 0, 0
        file.seek(0)
        for line in file:
            if (entry := _read(line)) is None:
                self.damaged += 1
            else:
                places[entry["student"]] = place
            place += len(line)
        return places

    def append(self, student: str, result: Result) -> None:
        """Put a result on disk. Raises OSError, and then the journal is as it was."""
        entry = json.dumps({"student": student, "result": result}).encode()
        line = b"%s %s\n" % (_digest(entry), entry)
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise

    def all_recorded(self, *, at_end: bool = False) -> None:
        """Say that every result is recorded: a large journal, at the end any, is emptied."""
        if self._file.seek(0, os.SEEK_END) > (0 if at_end else LARGE):
            if hasattr(os, "sync"):
                os.sync()  # autograded/ must outlast a power cut, too
            self._file.truncate(0)
            os.fsync(self._file.fileno())


def _digest(entry: bytes) -> bytes:
    return hashlib.sha256(entry).hexdigest()[:32].encode()


def _read(line: bytes) -> dict | None:
    """The entry on a line; None if it is torn or damaged."""
    digest, _, entry = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or digest != _digest(entry):
        return None
    return json.loads(entry)

"""Reading a submitted file: whatever it is, a notebook comes out, or a sentence why not.

Nothing here raises for what a student handed in, follows a symbolic link or reads without limit.
"""

import hashlib
import json
import os
import stat
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .rebuild import DEFAULT
from .states import Note, State

TIMESTAMP = "timestamp.txt"
FORMATS = (3, 4)  # older ones had no metadata, so no grade_id


class Refused(Exception):
    """The file cannot be graded; the note says why."""

    def __init__(self, note: Note):
        super().__init__(note.en)
        self.note = note


@dataclass(frozen=True)
class SubmittedFile:
    """A submitted file as it was read; ``content`` is None if ``refusal`` says why it was not.

    digest: SHA-256 of the file's bytes, or of the reason why they were not read.
    """

    content: bytes | None
    digest: str
    refusal: Note | None = None


def _refuse(zh: str, en: str, state: State = State.INVALID_FILE) -> Refused:
    return Refused(Note.of(state, zh=zh, en=en))


def read_file(path: Path, limit: int = DEFAULT.file) -> SubmittedFile:
    """The file at ``path``, or the note that refuses it; no more than ``limit`` bytes are read."""
    try:
        content = read_bytes(path, limit)
    except Refused as refused:
        return SubmittedFile(None, _digest(str(refused).encode()), refused.note)
    return SubmittedFile(content, _digest(content))


def parse(content: bytes) -> tuple[NotebookNode | None, list[Note]]:
    """The notebook that a file holds, upgraded to the current format, or the note that refuses it.

    It parses what a stranger wrote: this is for a worker to do.
    """
    try:
        return _parse(content), []
    except Refused as refused:
        return None, [refused.note]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_bytes(path: Path, limit: int) -> bytes:
    """The bytes of an ordinary file, not behind a symbolic link. Raises Refused."""
    # The folders of the student and of the assignment are the submission's own, too.
    if any(part.is_symlink() for part in (path, path.parent, path.parent.parent)):
        raise _refuse(
            f"{path.name} 是符号链接，批改时不会跟随；请提交文件本身。",
            f"{path.name} is a symbolic link, which is not followed: submit the file itself.",
        )
    try:
        # O_NONBLOCK: a named pipe must not keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Refused(Note.of(State.MISSING_NOTEBOOK)) from None
    except OSError as error:
        raise _refuse(
            f"{path.name} 无法读取：{error.strerror}。",
            f"{path.name} cannot be read: {error.strerror}.",
        ) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise _refuse(
            f"{path.name} 不是普通文件；请提交笔记本文件本身。",
            f"{path.name} is not an ordinary file: submit the notebook itself.",
        )
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit + 1) if found.st_size <= limit else None
    if content is None or len(content) > limit:
        raise _refuse(
            f"文件超过 {limit} 字节；请清除输出、保存后重新提交。",
            f"The file is larger than {limit} bytes: clear its outputs, save and submit again.",
        )
    return content


def _parse(content: bytes) -> NotebookNode:
    if not content.strip():
        raise _refuse(
            "提交的文件是空的；请重新保存并提交。",
            "The submitted file is empty: save it again and submit it.",
        )
    try:
        text = content.decode("utf-8-sig")
        version = json.loads(text)["nbformat"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise Refused(Note.of(State.INVALID_FILE)) from None
    if version not in FORMATS:
        raise _refuse(
            f"笔记本的格式是第 {version!r} 版，无法读取；请在 JupyterLab 里打开、保存后重新提交。",
            f"The notebook has format {version!r}, which cannot be read: "
            "open and save it in JupyterLab, submit again.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = nbformat.convert(nbformat.reader.reads(text), nbformat.current_nbformat)
    except Exception:  # the converters of old formats raise anything on a malformed notebook
        raise Refused(Note.of(State.INVALID_FILE)) from None
    return _checked(notebook)


def _checked(notebook: NotebookNode) -> NotebookNode:
    """The notebook, if it has all that a rebuild looks at."""
    cells = notebook.get("cells")
    whole = isinstance(cells, list) and all(
        isinstance(cell, dict)
        and isinstance(cell.get("source"), str)
        and isinstance(cell.get("cell_type"), str)
        and isinstance(cell.get("metadata", {}), dict)
        for cell in cells
    )
    if not whole:
        raise Refused(Note.of(State.INVALID_FILE))
    return notebook


def read_timestamp(folder: Path) -> datetime | None:
    """When a submission was handed in (UTC, naive), from its timestamp.txt; None if it says not.

    The time is the student's own claim unless the exchange wrote it.
    """
    from nbgrader.utils import parse_utc  # nbgrader takes half a second, and workers need none

    try:
        return parse_utc(read_bytes(folder / TIMESTAMP, 200).decode().strip() or None)
    except (Refused, ValueError, OverflowError):
        return None

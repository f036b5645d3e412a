"""Which code judges: a digest of it, so that a change of the judge is seen as one of the task."""

import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent
# What a worker imports to judge (a test holds it complete); the rest of grading changes no score.
JUDGING = (
    "tutor",
    "grading/kernels",
    "grading/misconceptions",
    "grading/claims.py",
    "grading/client.py",
    "grading/course.py",
    "grading/judge.py",
    "grading/key.py",
    "grading/plain.py",
    "grading/present.py",
    "grading/rebuild.py",
    "grading/run.py",
    "grading/sockets.py",
    "grading/states.py",
    "grading/submission.py",
    "grading/task.py",
    "grading/version.py",
    "grading/worker.py",
)
LIBRARIES = ("torch", "numpy", "ipykernel", "ipython")


def judging_files() -> Iterator[Path]:
    """The files of Python code that judge, in a fixed order."""
    for name in JUDGING:
        path = PACKAGES / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


@cache
def code_digest() -> str:
    """SHA-256 of the code that judges and of the versions of what it stands on."""
    digest = hashlib.sha256(f"python {platform.python_version()}\n".encode())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    for path in judging_files():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(PACKAGES).as_posix()} {content}\n".encode())
    return digest.hexdigest()

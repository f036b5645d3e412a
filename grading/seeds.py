"""Seeds that nobody can know: HMAC of the course's secret, the assignment and the student."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from .course import ROOT

VARIABLE = "COURSE_SECRET"


def course_secret(root: Path = ROOT) -> bytes:
    """The secret of the course: from COURSE_SECRET, or .course-secret, made on first use."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE].encode()
    path = root / ".course-secret"
    try:
        # O_EXCL: of two graders that start at once, one makes the secret and both read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text().strip().encode()


def seed_for(assignment: str, student: str, root: Path = ROOT) -> str:
    """The seed of one student's submission, 64 hexadecimal digits; the same at every regrade.

    `tutor.exercise.generator` derives one stream of random numbers per exercise from it.
    """
    message = f"{assignment}\0{student}".encode()
    return hmac.new(course_secret(root), message, hashlib.sha256).hexdigest()

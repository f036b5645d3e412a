"""What a student's notebook imports. It knows no answer and imports nothing of `grading`."""

from .check import CheckFailed, check, explain_missing_names
from .errors import expect_error
from .graph import draw
from .language import language

__all__ = ["CheckFailed", "check", "draw", "expect_error", "language"]

explain_missing_names()

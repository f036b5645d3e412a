"""The made-up class of tests/class, as course folders in temporary places."""

import sys
from pathlib import Path

import pytest

CLASS = Path(__file__).resolve().parent.parent / "class"
sys.path.insert(0, str(CLASS))  # "class" is no name for a package

import classroom  # noqa: E402
import members  # noqa: E402

from grading.runner import Course  # noqa: E402

SECRET = "a secret of the tests"


@pytest.fixture(scope="module")
def secret():
    """A course secret that touches no file of this checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_SECRET", SECRET)
        yield SECRET


@pytest.fixture(scope="module")
def make_course(tmp_path_factory, secret):
    """make_course(*names): a course folder with the submissions of these members."""

    def make(*names: str) -> Course:
        folder = tmp_path_factory.mktemp("course")
        classroom.build(folder, [member(name) for name in names])
        return Course(folder)

    return make


def member(name: str) -> members.Member:
    (found,) = [m for m in members.MEMBERS if m.name == name]
    return found

"""The made-up class: submissions of every kind, to see the grader at its job.

tests/class/classroom.py makes a course folder of them, with the settings of this course.
"""

import subprocess
import sys
from pathlib import Path

from .course import ROOT

BUILDER = ROOT / "tests" / "class" / "classroom.py"


def build(folder: Path) -> None:
    """Make a course folder with the class's submissions. Raises CalledProcessError."""
    subprocess.run([sys.executable, str(BUILDER), str(folder)], check=True)

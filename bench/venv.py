"""The benchmarks' own venv: otter-grader and nbmake on top of the course's packages.

It is a layer over this Python's site-packages, so that all tools run on the same torch, ipykernel
and nbclient, and differ in themselves alone.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from grading.course import ROOT

from .measure import check_exit

FOLDER = ROOT / ".cache" / "bench-venv"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAMP = FOLDER / ".ready"


def python() -> Path:
    """The venv's Python; makes the venv when it is not there or its requirements have changed.

    Raises BenchError, with pip's words, when that fails.
    """
    below = sysconfig.get_paths()["purelib"]
    wanted = f"# on top of {below}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    found = FOLDER / "bin" / "python"
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return found
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(FOLDER)
    (layer,) = FOLDER.glob("lib/python*/site-packages")
    (layer / "course.pth").write_text(f"import site; site.addsitedir({below!r})\n", "utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-deps", "-r", str(REQUIREMENTS)]
    done = subprocess.run(pip, capture_output=True, text=True)
    check_exit(pip[:5], done.returncode, done.stderr, (0,))
    STAMP.write_text(wanted, encoding="utf-8")
    return found

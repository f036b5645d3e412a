"""Replay notebooks: run every cell again, compare every output, in a pytest with `grading.strict`.

The parent of the warm kernels is started before anything else that takes its time is imported.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from . import kernels
from .course import ROOT, assignments, course_notebooks
from .kernels import warm

DEFAULT_PROVISIONER = "JUPYTER_DEFAULT_PROVISIONER_NAME"  # jupyter_client reads it


def replay(
    paths: Iterable[Path | str],
    at_once: int = 1,
    pictures: bool = True,
    output: IO | None = None,
    cold: bool = False,
    env: dict[str, str] | None = None,
) -> int:
    """Replay these notebooks in a pytest of its own, `at_once` at a time; its exit code.

    Fails when a file is no notebook or nothing was compared; without `pictures` the notebooks may
    have none. Kernels are forked from a warm parent where that is to be had; with `cold` each is a
    process of its own. The report goes to `output`, by default this process's standard output.
    They see `env`, by default `kernels.environment`; what is to be added to it is.
    """
    chosen = sorted((Path(path).resolve() for path in paths), key=_turn)
    # Test ids are relative to the root; of files outside it they would not be unique.
    root = ROOT if all(path.is_relative_to(ROOT) for path in chosen) else Path("/")
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(root)]
    command += ["-p", "nbval.plugin", "--nbval", "--nbval-current-env", "-p", "grading.strict"]
    command += ["-p", "no:cacheprovider", "-q", "--color=no"]
    command += [f"--nbval-cell-timeout={kernels.CELL_TIMEOUT}"]
    command += [f"--replay-at-once={at_once}"]
    command += [] if pictures else ["--replay-without-pictures"]
    command += map(str, chosen)
    with nullcontext(env) if env else kernels.environment() as env:
        env.pop("PYTEST_ADDOPTS", None)
        # The other plugins that are installed take a second to say nothing.
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        # More threads for kernels that run side by side would wait for each other, and busily.
        env.setdefault("OMP_NUM_THREADS", "1")
        env[DEFAULT_PROVISIONER] = "local-provisioner" if cold else "warm"
        if not cold:
            env |= warm.share(env)
        return subprocess.run(command, env=env, check=False, stdout=output).returncode


def _turn(path: Path) -> tuple[bool, bool, int]:
    """What to sort notebooks by, so that no core waits.

    Those come last that import what takes longest: its parent does so while the others run. Of
    those that import the same the longest comes first: pictures and much text take their time.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""  # pytest will say what is wrong with it
    modules = warm.named(text)
    return modules.issuperset(warm.DYNAMO), bool(modules), -len(text)


def main(
    paths: Iterable[Path | str] = (), at_once: int | None = None, cold: bool = False
) -> int:
    """Replay these notebooks or, by default, the whole course and its releases; an exit code."""
    given = [Path(path) for path in paths]
    chosen = given or course_notebooks()
    if not chosen:
        print("没有找到笔记本。 / No notebook found.", file=sys.stderr)
        return 1
    # One notebook may well have no picture; a whole course without any is a fault.
    at_once = at_once or kernels.cores() + 1  # now and then one waits for its parent to import
    with kernels.environment() as env:
        code = replay(chosen, at_once, pictures=not given, cold=cold, env=env)
        faults = [] if given else _released_faults(env, "python3" if cold else "warm")
    return int(bool(code or faults))


def _released_faults(env: dict[str, str], kernel_name: str) -> list[str]:
    """What is wrong with the released forms of all assignments; prints it."""
    from .stubs import replay_released  # imported late: the kernels' parent comes first

    faults = [f for name in assignments() for f in replay_released(name, env, kernel_name)]
    print("\n".join(faults) or "released assignments: no fault")
    return faults

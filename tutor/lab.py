"""Opens JupyterLab on the course: ``python -m tutor.lab [JupyterLab's own options]``.

A notebook that Jupyter does not trust is shown with its HTML sanitised: the language switch would
be dead until its cell is run. So the lessons and the students' own copies are signed first.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary

ROOT = Path(__file__).resolve().parent.parent


def lessons(root: Path) -> list[Path]:
    """The lessons of the course at root, in order."""
    return sorted((root / "notebooks").glob("*.ipynb"))


def working_copies(root: Path) -> list[Path]:
    """The student's working copies, homework/NAME/NAME.ipynb; other files there are not ours."""
    copies = (root / "homework").glob("*/*.ipynb")
    return sorted(path for path in copies if path.stem == path.parent.name)


def trust(paths: list[Path]) -> list[Path]:
    """Sign these notebooks for this user, as ``jupyter trust`` does.

    Returns the files that are no notebooks, which are left as they are.
    """
    notary = NotebookNotary()
    broken = []
    for path in paths:
        try:
            notary.sign(nbformat.read(path, as_version=4))
        except (OSError, ValueError, nbformat.ValidationError):
            broken.append(path)
    return broken


def command(root: Path, options: list[str]) -> list[str]:
    """The command line that starts JupyterLab on the course at root, with the user's options."""
    words = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    if first := lessons(root)[:1]:
        page = first[0].relative_to(root).as_posix()
        words.append(f"--LabApp.default_url=/lab/tree/{page}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        words.append("--allow-root")  # without it JupyterLab refuses to start for root
    return words + options


def environment() -> dict[str, str]:
    """This environment, with the commands beside this Python (nbgrader, jupyter) first."""
    beside = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": beside + os.pathsep + os.environ.get("PATH", os.defpath)}


def main(options: list[str]) -> None:
    """Trust the course's notebooks and become JupyterLab. Does not return."""
    for path in trust(lessons(ROOT) + working_copies(ROOT)):
        name = path.relative_to(ROOT)
        print(f"{name} 不是可读的笔记本，已跳过。 / {name} is no readable notebook: passed over.")
    os.chdir(ROOT)  # nbgrader looks for nbgrader_config.py in the current folder
    sys.stdout.flush()
    words = command(ROOT, options)
    os.execve(words[0], words, environment())


if __name__ == "__main__":
    main(sys.argv[1:])

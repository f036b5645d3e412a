"""Places the student's working copy of every assignment: homework/NAME/NAME.ipynb.

A copy that is there is never written to again, whatever it holds: it is somebody's work.
"""

from pathlib import Path

import nbformat

from grading.course import ROOT, assignments, read_source


def place(name: str, root: Path = ROOT) -> tuple[Path, bool]:
    """Write the released notebook of one assignment, unless a copy exists.

    Returns the copy's path and whether it was written now. Raises what ``released`` raises.
    """
    copy = root / "homework" / name / f"{name}.ipynb"
    if copy.exists() or copy.is_symlink():
        return copy, False
    # Imported here, for it costs seconds: from the second start on there is nothing to release.
    from grading.release import released

    notebook = released(name, root)
    # A released notebook holds no output. The language switch alone gets its own back, so that it
    # works before anything is run.
    notebook.cells[0].outputs = read_source(name, root).cells[0].outputs
    text = nbformat.writes(notebook)
    copy.parent.mkdir(parents=True, exist_ok=True)
    # "x" refuses a file that came into being since; the text is complete before it is opened.
    with copy.open("x", encoding="utf-8") as file:
        file.write(text if text.endswith("\n") else text + "\n")
    return copy, True


def main(root: Path = ROOT) -> int:
    """Place a copy of each assignment and say what was done. Returns an exit code."""
    names = assignments(root)
    for name in names:
        copy, new = place(name, root)
        where = copy.relative_to(root).as_posix()
        if new:
            print(f"作业已放在 {where} / the assignment is placed in {where}")
        else:
            print(f"{where} 已存在，保持不变 / {where} exists and is left as it is")
    if not names:
        print("source/ 中没有作业。 / There is no assignment in source/.")
    return 0 if names else 1


if __name__ == "__main__":
    raise SystemExit(main())

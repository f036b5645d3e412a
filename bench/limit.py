"""The limit: notebooks' cells executed in one warm process, no kernel, nothing compared or judged.

``python -m bench.limit NOTEBOOK…`` prints {"cells": …, "errors": …} as JSON. Each notebook gets
an empty namespace and runs in its own folder; torch and pyplot are imported once.
"""

import json
import os
import sys
from contextlib import chdir
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config


class Shell(InteractiveShell):
    """IPython's shell without a window system."""

    def enable_gui(self, gui=None):
        """There is none."""


def execute(shell: Shell, path: Path) -> tuple[int, int]:
    """Run the code cells of one notebook: (how many, how many of them ended in an error)."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    shell.reset()
    done = errors = 0
    with chdir(path.parent), capture_output():
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                result = shell.run_cell("".join(cell["source"]), store_history=False)
                done += 1
                errors += not result.success
    return done, errors


def main(paths: list[str]) -> None:
    """Run all notebooks and print what was done."""
    # As ipykernel does: pyplot, once it is imported, shows figures as outputs of their cell.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    counts = [execute(shell, Path(path).resolve()) for path in paths]
    cells, errors = (sum(column) for column in zip(*counts, strict=True))
    print(json.dumps({"cells": cells, "errors": errors}))
    sys.stdout.flush()
    os._exit(0)  # as a killed kernel ends: no atexit handlers


if __name__ == "__main__":
    main(sys.argv[1:])

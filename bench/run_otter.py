"""Grades notebooks with otter-grader, without containers; runs in the benchmarks' own venv.

``python run_otter.py AUTOGRADER.zip NOTEBOOK…`` prints {notebook's name: points} as JSON. One
process grades all: `otter run`, the command for one notebook, would start Python for each.
"""

import json
import sys
from pathlib import Path

from otter.api import grade_submission


def main(autograder: str, paths: list[str]) -> None:
    """Grade and print."""
    points = {
        Path(path).stem: grade_submission(path, autograder, quiet=True).total for path in paths
    }
    print(json.dumps(points))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""`make keys`: write the keys for the public seed, which ship with the course as data."""

import json
from pathlib import Path

from tutor import keys

from .course import ROOT, assignments
from .key import Reference


def public_keys(assignment: str, root: Path = ROOT) -> dict:
    """The file of keys of an assignment, made from its source notebook."""
    reference = Reference(assignment, root)
    seed = keys.PUBLIC_SEED
    return {
        "assignment": assignment,
        "seed": seed,
        "exercises": {
            e.name: keys.pack(reference.key(e.name, seed), reference.misconceptions(e.name, seed))
            for e in reference.exercises
        },
    }


def main(only: str | None = None, root: Path = ROOT) -> int:
    """Write tutor/keys/*.json for every assignment, or for one; returns an exit code."""
    written = 0
    for assignment in [only] if only else assignments(root):
        made = public_keys(assignment, root)
        path = root / "tutor" / "keys" / f"{assignment}.json"
        text = json.dumps(made, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        path.write_text(text.replace('"exercises":', '\n"exercises":') + "\n", "utf-8")
        wrong = sum(len(e["misconceptions"]) for e in made["exercises"].values())
        print(f"{path.name}: {len(made['exercises'])} exercises, {wrong} misconceptions")
        written += len(made["exercises"])
    print(f"keys: {written} exercises")
    return 0 if written else 1

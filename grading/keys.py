"""`make keys`: write the keys for the public seed, which ship with the course as data."""

import json
from pathlib import Path

from tutor import keys
from tutor.evidence import Evidence, Observation
from tutor.verdict import difference

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


def agree(old: Evidence, new: Evidence, rounded: bool = False) -> bool:
    """Whether two makings of the same evidence give the same, but for the last digits.

    Those are what processors round differently. Of a wrong answer that makes more of it (see
    `grading.misconceptions.Wrong.rounded`) no number is compared, but all else is.
    """
    if rounded:
        old, new = ({f: unnumbered(o) for f, o in evidence.items()} for evidence in (old, new))
    return list(old) == list(new) and not any(difference(old[f], new[f]) for f in new)


def unnumbered(observation: Observation) -> Observation:
    """An observation with 0 for each of its numbers; types, dtypes and shapes stay."""
    match observation:
        case {"tensor": found}:
            return {"tensor": {**found, "values": [0.0] * len(found["values"])}}
        case {"number": _}:
            return {"number": 0.0}
        case {"list": items}:
            return {"list": [unnumbered(item) for item in items]}
        case {"dict": items}:
            return {"dict": {name: unnumbered(item) for name, item in items.items()}}
    return observation


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

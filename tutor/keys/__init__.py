"""Keys: the evidence of right answers and of misconceptions under the public seed, as data.

``make keys`` writes one JSON file per assignment from the source notebooks; no code of an answer
is in them.
"""

import json
from functools import cache
from importlib.resources import files

from ..evidence import Evidence
from ..verdict import Misconception

PUBLIC_SEED = "public"


@cache
def _read(assignment: str) -> dict:
    return json.loads(files(__name__).joinpath(f"{assignment}.json").read_text("utf-8"))


def load(assignment: str, exercise_name: str) -> tuple[Evidence, list[Misconception]]:
    """The key of an exercise and its misconceptions under PUBLIC_SEED.

    Raises FileNotFoundError or KeyError where ``make keys`` has not been run.
    """
    entry = _read(assignment)["exercises"][exercise_name]
    key = entry["key"]
    return key, [
        Misconception(m["name"], m["zh"], m["en"], key | m["evidence"])
        for m in entry["misconceptions"]
    ]


def pack(key: Evidence, misconceptions: list[Misconception]) -> dict:
    """What a file of keys holds for one exercise: of a misconception, what differs from the key."""
    return {
        "key": key,
        "misconceptions": [
            {
                "name": m.name,
                "zh": m.zh,
                "en": m.en,
                "evidence": {f: o for f, o in m.evidence.items() if o != key[f]},
            }
            for m in misconceptions
        ],
    }

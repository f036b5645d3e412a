"""All attacks, by family."""

from . import breaking, files, flooding, forging, plainly, reading, scripting, shell, writing
from .attack import Attack

MODULES = (forging, plainly, shell, reading, writing, breaking, flooding, scripting, files)
# Where an attack might reach the next submission, an honest neighbour follows each of them.
CLOSE = (shell, writing, breaking, flooding)
ATTACKS: dict[str, Attack] = {a.name: a for module in MODULES for a in module.ATTACKS}
assert len(ATTACKS) == sum(len(module.ATTACKS) for module in MODULES), "a name is used twice"


def rounds() -> list[list[str]]:
    """The attacks in order, in groups that an honest neighbour stands before and behind.

    Whoever takes what an accomplice leaves comes right after them.
    """
    found = []
    for module in MODULES:
        step, groups = (1 if module in CLOSE else 3), []
        for attack in module.ATTACKS:
            if groups and (attack.name.startswith("take-") or len(groups[-1]) < step):
                groups[-1].append(attack.name)
            else:
                groups.append([attack.name])
        found += groups
    return found

"""What an instructor sets in nbgrader_config.py: c.Rebuild.* and c.Run.*."""

from dataclasses import dataclass, replace
from typing import Any

from traitlets import Bool, Float, Integer, Unicode
from traitlets.config import Config, Configurable

from . import kernels, rebuild

WARM = "warm"


class Rebuild(Configurable):
    """What a submission may hold."""

    file = Integer(rebuild.DEFAULT.file, help="Largest file, in bytes").tag(config=True)
    cells = Integer(rebuild.DEFAULT.cells, help="Most cells of a notebook").tag(config=True)
    cell = Integer(rebuild.DEFAULT.cell, help="Largest cell, in bytes").tag(config=True)


class Run(Configurable):
    """How a submission runs; times in seconds, by default those of `grading.run`."""

    kernel = Unicode(kernels.SANDBOX, help="The kernelspec to run submissions in").tag(config=True)
    isolation = Bool(True, help="Refuse to grade where nothing isolates").tag(config=True)
    cell = Float(None, allow_none=True, help="Longest time for a cell").tag(config=True)
    grace = Float(None, allow_none=True, help="Time to obey an interrupt").tag(config=True)
    total = Float(None, allow_none=True, help="Longest time for a notebook").tag(config=True)


@dataclass(frozen=True)
class Settings:
    """The settings of one course.

    times: those of `grading.run.Limits` that are set, by name. They stay plain numbers here, for
    whoever only hands out tasks need not import torch.
    """

    size: rebuild.Limits
    times: dict[str, float]
    kernel: str
    isolation: bool

    @classmethod
    def of(cls, config: Config) -> "Settings":
        """The settings that a configuration makes. Raises traitlets.TraitError."""
        size, run = Rebuild(config=config), Run(config=config)
        times: dict[str, Any] = {n: getattr(run, n) for n in ("cell", "grace", "total")}
        settings = cls(
            rebuild.Limits(size.file, size.cells, size.cell),
            {name: seconds for name, seconds in times.items() if seconds is not None},
            run.kernel,
            True,
        )
        return settings if run.isolation else settings.without_isolation()

    def without_isolation(self) -> "Settings":
        """The same, for work of people who are trusted: any kernel will do."""
        kernel = WARM if self.kernel == kernels.SANDBOX else self.kernel
        return replace(self, kernel=kernel, isolation=False)


class NotIsolated(Exception):
    """Nothing here would keep students' code from the rest of this machine."""


def require_isolation(settings: Settings) -> str:
    """A sentence on how well students' code is isolated here. Raises NotIsolated."""
    level = kernels.isolation()
    if settings.isolation and not level.isolated:
        raise NotIsolated(
            f"{level} 若信得过所有提交者，请用 --no-isolation，或在 nbgrader_config.py 里写 "
            "c.Run.isolation = False。 / If you trust everybody who submitted, use --no-isolation, "
            "or c.Run.isolation = False in nbgrader_config.py."
        )
    return str(level)

"""What can become of a submission, with a sentence in each language for its student."""

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class State(Enum):
    """How the grading of a submission ended; later ones are graver (see `gravest`).

    Each has ``zh`` and ``en``, a sentence, and ``person``: whether a person must look at it.
    """

    GRADED = ("graded", "已批改。", "Graded.", False)
    TIMEOUT = (
        "timeout",
        "有单元运行超时，已被中断；请检查是否有不会结束的循环。",
        "A cell took too long and was stopped: look for a loop that never ends.",
        False,
    )
    OUT_OF_MEMORY = (
        "out_of_memory",
        "有单元被系统强行终止，多半是占用了过多内存；其余的题照常批改。",
        "A cell was killed by the system, most likely for its memory; the rest was graded.",
        False,
    )
    CRASHED = (
        "crashed",
        "有单元使 Python 进程退出；其余的题照常批改。",
        "A cell made the Python process end; the rest was graded.",
        False,
    )
    OVER_LIMIT = (
        "over_limit",
        "有单元输出太多，或打开了太多文件、进程，已被终止；其余的题照常批改。",
        "A cell printed too much, or made too many files or processes, and was ended; "
        "the rest was graded.",
        False,
    )
    MISSING_NOTEBOOK = (
        "missing_notebook",
        "提交中没有作业的笔记本；请不要改它的文件名，重新提交。",
        "The submission lacks the assignment's notebook: keep its file name and submit again.",
        False,
    )
    WRONG_NOTEBOOK = (
        "wrong_notebook",
        "这个笔记本里没有本次作业的任何一个答题单元；请在发布的作业里作答后重新提交。",
        "This notebook has no answer cell of this assignment: answer in the released one.",
        False,
    )
    INVALID_FILE = (
        "invalid_file",
        "提交的文件不是可读的笔记本；请在 JupyterLab 里打开、保存后重新提交。",
        "The submitted file is no readable notebook: open and save it in JupyterLab, submit again.",
        False,
    )
    UNPROVEN = (
        "unproven",
        "有的检查项只有你自己的进程看得到，而提交里有能绕到提问背后的写法：这些检查项暂不计分，由教师复核。",
        "Some facets are seen by your own process alone, and code that was handed in can reach "
        "behind the questions: these earn no points until a teacher has looked.",
        True,
    )
    SUSPECTED_TAMPERING = (
        "suspected_tampering",
        "有检查单元的输出不完整或被改动过，该题暂记 0 分，由教师复核。",
        "A check cell's output is incomplete or was altered: no points until a teacher has looked.",
        True,
    )
    INFRASTRUCTURE_ERROR = (
        "infrastructure_error",
        "批改程序自身出了错，这不是你的问题；教师会重新批改。",
        "The grading program itself failed, which is not your fault: it will be graded again.",
        True,
    )

    def __init__(self, label: str, zh: str, en: str, person: bool):
        self.label, self.zh, self.en, self.person = label, zh, en, person

    @classmethod
    def named(cls, label: str) -> "State":
        """The state of that label. Raises ValueError."""
        for state in cls:
            if state.label == label:
                return state
        raise ValueError(f"there is no state {label!r}")


ORDER = {state: place for place, state in enumerate(State)}
# In these states the submission has no answers that could be run.
UNREADABLE = frozenset({State.MISSING_NOTEBOOK, State.WRONG_NOTEBOOK, State.INVALID_FILE})


@dataclass(frozen=True)
class Note:
    """One thing that happened to a submission, or to its cell ``cell`` (a grade_id)."""

    state: State
    zh: str
    en: str
    cell: str | None = None

    @classmethod
    def of(cls, state: State, cell: str | None = None, zh: str = "", en: str = "") -> "Note":
        """A note with the state's own sentences, unless others are given."""
        return cls(state, zh or state.zh, en or state.en, cell)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "state": self.state.label}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Note":
        return cls(State.named(data["state"]), data["zh"], data["en"], data.get("cell"))


def gravest(notes: list[Note]) -> State:
    """The state of a submission to which all these notes belong."""
    return max((note.state for note in notes), key=ORDER.__getitem__, default=State.GRADED)

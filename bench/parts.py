"""The parts of the benchmark: each measures, and returns its section of the page."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grading import kernels

from . import check, grade, page, replay, scale
from .measure import Contender, alternate, ratios, spread
from .memory import KINDS, MIB, ROLES

Say = Callable[[str], None]
STOCK_GRADING, STOCK_REPLAY, LIMIT = 20, 5, 2.5  # times stock, times stock, times the limit
GROWTH = 1.10  # of the cost of a submission, and of memory


@dataclass(frozen=True)
class Plan:
    """How much is measured. slow_rounds: of the stock tools, which take minutes."""

    submissions: int = 60
    rounds: int = 3
    slow_rounds: int = 1
    sizes: tuple[tuple[int, int], ...] = ((10, 2), (100, 2), (1000, 1))  # (submissions, rounds)
    checks: int = 3


FULL = Plan()
QUICK = Plan(submissions=10, rounds=1, slow_rounds=1, sizes=((4, 1), (10, 1), (20, 1)), checks=2)


def named(contenders: list[Contender], start: str) -> Contender:
    """The contender whose English name begins so."""
    (found,) = [one for one in contenders if one.en.startswith(start)]
    return found


def of(slow: Contender, fast: Contender) -> list[float]:
    """The ratios of two contenders; none where one was not measured."""
    return ratios(slow.seconds, fast.seconds) if slow.seconds and fast.seconds else []


def compared(contenders: list[Contender], stock: Contender) -> list[str]:
    """The table of contenders and what each of them did."""
    limits = [one for one in contenders if one.en.startswith("the limit")]
    return [page.contenders_table(contenders, stock, limits), page.notes(contenders)]


def grading(plan: Plan, say: Say) -> page.Section:
    """(a) Grading a class."""
    with tempfile.TemporaryDirectory() as folder:
        found = grade.contenders(Path(folder), plan.submissions, plan.rounds, plan.slow_rounds)
        alternate(found, say)
    stock, best = named(found, "stock"), named(found, f"ours, on {grade.CORES}")
    limit = named(found, "the limit, 1")
    return page.Section(
        f"(a) 批改 {plan.submissions} 份 · Grading {plan.submissions} submissions",
        "作业 03-vjp：四成照源解，两成用别的正确做法，三成各有三处常见错误，一成是空答。原版和 "
        "otter-grader 用普通断言问同样的检查项（`bench/assertions.py`）；原版的发布版已经生成，"
        f"不计时，而我们的命令连这一步也计在内。{kernels.isolation().zh}"
        "极限是同样的单元在一个进程里执行：没有内核，没有沙箱，不判分。",
        "Assignment 03-vjp: four in ten hand in the source's solutions, two other right ones, "
        "three have three known mistakes each, one is untouched. Stock and otter-grader ask the "
        "same facets with plain assertions (`bench/assertions.py`); stock's release was made "
        f"before, untimed, while our command makes its own. {kernels.isolation().en} The limit "
        "is the same cells executed in one process: no kernel, no sandbox, nothing judged.",
        compared(found, stock),
        [
            page.Target("批改：快于原版", "grading: times stock", of(stock, best), STOCK_GRADING),
            page.Target("批改：与极限之比", "grading: against the limit", of(best, limit), LIMIT,
                        most=True),
        ],
    )  # fmt: skip


def replaying(plan: Plan, say: Say) -> page.Section:
    """(b) Replaying the course."""
    found = replay.contenders(plan.rounds, plan.slow_rounds)
    alternate(found, say)
    stock, best = named(found, "stock"), named(found, "ours, warm")
    limit, count = named(found, "the limit, 1"), len(replay.paths())
    return page.Section(
        f"(b) 重放 {count} 个笔记本 · Replaying {count} notebooks",
        "`notebooks/` 和 `source/` 的全部笔记本。原版 nbval 比较文字输出，不看图片，也不看没有运行"
        "过的单元；nbmake 只执行，不比较；我们的每个输出、每张图片都比较。极限只在一个进程里"
        "执行，不比较。",
        "All notebooks of `notebooks/` and `source/`. Stock nbval compares texts, and looks "
        "neither at pictures nor at cells that were never run; nbmake executes and compares "
        "nothing; ours compares every output and every picture. The limit executes in one process "
        "and compares nothing.",
        compared(found, stock),
        [
            page.Target("重放：快于原版", "replay: times stock", of(stock, best), STOCK_REPLAY),
            page.Target("重放：与极限之比", "replay: against the limit", of(best, limit), LIMIT,
                        most=True),
        ],
    )  # fmt: skip


def scaling(plan: Plan, say: Say) -> page.Section:
    """(c, d) Time and memory against the number of submissions."""
    sizes = [scale.Size(count, rounds) for count, rounds in plan.sizes]
    scale.grade_all(sizes, say)
    small, middle, large = sizes
    growth = scale.growth_of_cost(small, middle, large)
    memory, targets = memory_of(middle, large)
    counts = f"{small.count}、{middle.count}、{large.count}"
    return page.Section(
        "(c) (d) 规模与内存 · Size and memory",
        f"我们的命令，{grade.CORES} 个核，{counts} 份提交（同样的二十份轮流）。净成本是比 "
        f"{small.count} 份时多出来的每一份的秒数：启动的时间两边都有，相减就没有了。"
        "内存每隔半秒量一次：独占（USS）、分摊（PSS）、常驻的最高值（RSS），"
        "各取同一角色的单个进程的最大值。",
        f"Our command on {grade.CORES} cores with {small.count}, {middle.count} and "
        f"{large.count} submissions (the same twenty in turn). The net cost is the seconds for "
        f"each submission beyond the first {small.count}: the start-up is in both, and is gone "
        "from the difference. Memory is looked at every half second: of its own (USS), its share "
        "(PSS), the most it had resident (RSS), each the greatest of any one process of its role.",
        [cost_table(sizes), memory],
        [
            page.Target(
                f"{large.count} 份时的净成本与 {middle.count} 份时之比",
                f"net cost at {large.count} against {middle.count}", growth, GROWTH, most=True,
            ),
            *targets,
        ],
    )  # fmt: skip


def cost_table(sizes: list[scale.Size]) -> str:
    """Seconds in all and for each submission, raw and net of the start-up."""
    head = ["提交 submissions", "轮 rounds", "秒 s", "每份秒数 s each", "净 net, s each"]
    rows = []
    for size in sizes:
        each = [seconds / size.count for seconds in size.seconds]
        net = spread(scale.marginal(sizes[0], size), 3) if size is not sizes[0] else "—"
        rows.append([str(size.count), str(len(size.seconds)), spread(size.seconds, 1),
                     spread(each, 3), net])  # fmt: skip
    return page.table(head, rows)


ROLE_NAMES = {
    "main": "主进程 main",
    "worker": "工作进程 worker",
    "parent": "热父进程 forking parent",
    "kernel": "内核 kernel",
}


def memory_of(middle: scale.Size, large: scale.Size) -> tuple[str, list[page.Target]]:
    """The table of peaks, and whether any role's grows with the number of submissions."""
    head = ["峰值 peak, MiB"]
    head += [f"{kind.upper()}, {size.count}" for kind in KINDS for size in (middle, large)]
    rows, targets = [], []
    for role in ROLES:
        cells = [scale.peak(size, role, kind) for kind in KINDS for size in (middle, large)]
        rows.append([ROLE_NAMES[role], *("—" if c is None else f"{c / MIB:.0f}" for c in cells)])
        # A kernel ends between two looks; and an ordinary user may not look at the parent closely.
        kind = "uss" if role != "kernel" and scale.peak(large, role, "uss") else "rss"
        before, after = (scale.peak(size, role, kind) for size in (middle, large))
        growth = [after / before] if before and after else []
        zh, _, en = ROLE_NAMES[role].partition(" ")
        targets.append(page.Target(f"内存：{zh}，{large.count} 份与 {middle.count} 份之比",
                                   f"memory: {en}, {large.count} against {middle.count}",
                                   growth, GROWTH, most=True))  # fmt: skip
    every = [max(peaks.together for peaks in size.peaks) for size in (middle, large)]
    rows.append(["全部 together", "—", "—", *(f"{value / MIB:.0f}" for value in every), "—", "—"])
    return page.table(head, rows), targets


def checking(plan: Plan, say: Say) -> page.Section:
    """(e) From check() to its table."""
    first = check.first_check(plan.checks)
    say(f"first check: {spread(first, 0)} ms")
    found = check.every_exercise(plan.checks, say)
    head = ["作业 assignment", "题目 exercise", "中位 median, ms", "最大 max, ms"]
    rows = [[w.assignment, f"`{w.exercise}`", f"{w.median:.0f}", f"{w.most:.0f}"] for w in found]
    return page.Section(
        "(e) 从 `check()` 到表格 · From `check()` to its table",
        "学生自己的内核里，从送出 `check(…)` 到表格到达。每道题先检查一次，再用正确答案和一个"
        f"常见错误各问 {plan.checks} 次。新内核里的第一次检查：{spread(first, 0)} 毫秒。",
        "In a student's own kernel, from sending `check(…)` to its table being here. Each "
        f"exercise is checked once before, then {plan.checks} times each with the right answer and "
        f"with a known mistake. The first check in a new kernel: {spread(first, 0)} ms.",
        [page.table(head, rows)],
    )


PARTS = {"grading": grading, "replay": replaying, "scale": scaling, "check": checking}

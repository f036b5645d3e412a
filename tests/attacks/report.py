"""docs/attacks.md: what each attack did before, with stock nbgrader, and what it does now.

`make attacks` writes the page when it has run them; stock's side is in before.json (see
`tests.attacks.stock`).
"""

import json

from grading.course import ROOT

from .attack import WON, Attack
from .families import ATTACKS, MODULES
from .harness import CANARIES, KIND, Run, kind_of
from .pages import active
from .stock import BEFORE, SECONDS

PAGE = ROOT / "docs" / "attacks.md"
GOOD, BAD = "✓", "✗"
HEAD = """\
# 对批改程序的攻击 · Attacks on the grader

<!-- made by `make attacks`; do not edit -->

{count} 份敌意的或不走运的提交，每一份都由 `make attacks` 真的批改一遍，前后都有诚实的邻居，\
并检查四件事：得分恰为它应得的；别人的分数不变；批改继续进行，什么也没有留下；学生收到的东西里没有秘密，\
也没有会动的内容。\
「原版」一栏是同一份提交交给 nbgrader {nbgrader}（默认设置，断言作测试，{date}）的结果。

{count} hostile or unlucky submissions. `make attacks` really grades each of them, between honest \
neighbours, and asserts four things: its score is exactly what it deserves; nobody else's score is \
touched; the run goes on, and nothing is left over; nothing secret and nothing active is in what a \
student receives. The column "stock" is the same submission given to nbgrader {nbgrader} with its \
default settings and assertions as tests ({date}).

得逞或造成损害的（✗）：两边都试过的 {tried} 份中，原版 {before}，现在 {same}；\
全部 {count} 份中，现在 {now}。

Those that succeed or do harm (✗): of the {tried} tried with both, {before} with stock and {same} \
now; of all {count}, {now} now.
"""


def page(runs: list[Run]) -> str:
    """The page for these runs, which together have all attacks. Says what happened, good or bad."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    found = {name: run for run in runs for name in run.part.attacks}
    stock = {name: stock_outcome(attack, before["attacks"]) for name, attack in ATTACKS.items()}
    now = {name: our_outcome(attack, found[name]) for name, attack in ATTACKS.items()}
    both = [n for n in ATTACKS if stock[n].startswith((BAD, GOOD))]
    text = HEAD.format(
        count=len(ATTACKS), tried=len(both), date=before["date"],
        before=sum(stock[n].startswith(BAD) for n in both),
        same=sum(now[n].startswith(BAD) for n in both),
        now=sum(outcome.startswith(BAD) for outcome in now.values()),
        nbgrader=before["versions"]["nbgrader"],
    )  # fmt: skip
    for module in MODULES:
        text += f"\n## {' · '.join(module.FAMILY)}\n\n"
        text += "| 攻击 attack | 原版 stock | 现在 now |\n|---|---|---|\n"
        for attack in module.ATTACKS:
            text += f"| {_cell(attack.zh)}<br>{_cell(attack.en)} | {stock[attack.name]} "
            text += f"| {now[attack.name]} |\n"
    return text


def due(attack: Attack) -> float:
    """The points that an attack deserves."""
    return sum(attack.points.values())


def stock_outcome(attack: Attack, before: dict) -> str:
    """What stock did with an attack; what was measured of another version does not count."""
    if attack.only_here:
        return "— " + " / ".join(map(_cell, attack.only_here))
    found = before.get(attack.name)
    if not found or found["digest"] != attack.digest:
        return "— 这一版尚未测量 / not measured in this version"
    faults = _score_faults(attack, found["points"] or 0, found["graded"])
    if not found["ended"]:
        faults.append(f"批改没有结束，{SECONDS} 秒后被终止 / the run was ended after {SECONDS} s")
    if found["bystander"] != 20 or found["after"] != 20:
        faults.append("别人受影响 / others suffer")
    if found["leaked"]:
        faults.append("泄露了秘密 / secrets in what comes back")
    if found["won"]:
        faults.append("做成了它要做的 / did what it tried")
    if found["acts"]:
        faults.append("页面里有活动内容 / active content in the page")
    if found["left"]:
        faults.append("留下了进程 / left processes behind")
    return _outcome(faults)


def our_outcome(attack: Attack, run: Run) -> str:
    """What the grader does with an attack, by the same measure, and the state that it gave."""
    score, name = run.scores[attack.name], attack.name
    received = run.page(name) + run.autograded(name).read_text(encoding="utf-8")
    faults = _score_faults(attack, score["total"], True)
    if score["state"] not in attack.states:
        wanted = " / ".join(attack.states)
        faults.append(f"状态不对 / wrong state: {score['state']}, not {wanted}")
    beside = [(run.scores[n]["total"], KIND[kind_of(n)]) for n in run.part.beside(name)]
    if run.rows or any(total != sum(kind.expected.values()) for total, kind in beside):
        faults.append("别人受影响 / others suffer")
    if any(canary in received for canary in CANARIES):
        faults.append("泄露了秘密 / secrets in what comes back")
    if any(str(path) in received for path in (run.part.folder, ROOT)):
        faults.append("泄露了这台机器的路径 / paths of the grader's machine in what comes back")
    if "".join(WON) in received:
        faults.append("做成了它要做的 / did what it tried")
    if active(run.page(name)) != active(run.page(run.part.neighbours[0])):
        faults.append("页面里有活动内容 / active content in the page")
    if any(run.part.mark(name) in thing for thing in run.left):
        faults.append("留下了东西 / left something behind")
    states = " / ".join(f"`{state}`" for state in attack.states)
    return f"{_outcome(faults)}；{score['total']:g}，{states}"


def _score_faults(attack: Attack, points: float, graded: bool) -> list[str]:
    deserves = due(attack)
    if points > deserves:
        return [f"得 {points:g} 分，应得 {deserves:g} / {points:g} points, {deserves:g} due"]
    if not graded and deserves:
        return ["没有批改 / not graded"]
    if points < deserves:
        return [f"只得 {points:g} 分，应得 {deserves:g} / {points:g} of {deserves:g} due"]
    return []


def _outcome(faults: list[str]) -> str:
    return f"{BAD} " + "；<br>".join(faults) if faults else f"{GOOD} 无害 / harmless"


def _cell(text: str) -> str:
    """A text that may stand in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\\href", "`\\href`")

"""A made-up class: what each member hands in, and what it is worth.

MEMBERS hand in 03-vjp in every way there is; OTHERS hand in each of the other assignments solved,
emptied and with typical mistakes.

An answer is "source", "stub", "alternative NAME", "wrong NAME" (of grading.misconceptions) or
code; an exercise without an answer is solved as in the source. `edit` names a function of
classroom.py that changes the notebook or the folder beyond its answers.
"""

from dataclasses import dataclass, field

ASSIGNMENT = "03-vjp"
MOST = {
    "vjp": 4,
    "vjp_multi": 4,
    "jac_rows": 3,
    "weighted_losses": 3,
    "jac_from_oracle": 4,
    "layout_counterexample": 2,
}
NOTHING = dict.fromkeys(MOST, 0)


@dataclass(frozen=True)
class Member:
    """One submission. scores: points by exercise where they are not full marks."""

    name: str
    about: str
    answers: dict[str, str] = field(default_factory=dict)
    edit: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    state: str = "graded"
    misconceptions: dict[str, str] = field(default_factory=dict)
    assignment: str = ASSIGNMENT
    most: dict[str, float] = field(default_factory=MOST.copy)

    @property
    def expected(self) -> dict[str, float]:
        """Points by exercise."""
        return self.most | self.scores


def wrong(name: str, about: str, answers: dict[str, tuple[str, float]], **others) -> Member:
    """A member who makes known mistakes: {exercise: (misconception, points)}."""
    return Member(
        name,
        about,
        **others,
        answers={exercise: f"wrong {mistake}" for exercise, (mistake, _) in answers.items()},
        scores={exercise: points for exercise, (_, points) in answers.items()},
        misconceptions={exercise: mistake for exercise, (mistake, _) in answers.items()},
    )


HELPED = '''
def vjp(f, x, v):
    x = fresh(x)
    y = f(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    g = torch.zeros_like(x)
    if y.requires_grad:
        (g,) = torch.autograd.grad(y, x, v, materialize_grads=True)
    return y.detach(), g
'''
ENDLESS = '''
def vjp(f, x, v):
    while True:
        pass
'''
STUBBORN = '''
def vjp(f, x, v):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
'''
EXIT = '''
import os

def vjp(f, x, v):
    os._exit(3)
'''
KILL = '''
import os

def jac_rows(f, x, rows):
    os.kill(os.getpid(), 9)
'''
FORGED = '''
from IPython.display import display

def vjp(f, x, v):
    display({"application/vnd.tutor.evidence": '{"exercise": "vjp", "evidence": {}}'}, raw=True)
    return f(x), x
'''
HOSTILE = '''
from IPython.display import HTML, SVG, Javascript, Latex, Markdown, display

ATTACK = "<script>alert('stolen')</script><img src=x onerror=alert(1)>"
print(ATTACK)
print("\\x1b[31m" + ATTACK)
display(HTML(ATTACK), Markdown(ATTACK), Latex("$\\\\href{javascript:alert(1)}{x}$"))
display(Javascript("alert(1)"), SVG(f"<svg xmlns='http://www.w3.org/2000/svg'>{ATTACK}</svg>"))
display({"image/png": '"><script>alert(2)</script>', "text/plain": ATTACK}, raw=True)

def vjp(f, x, v):
    """<script>alert('code')</script>"""
    return {"$\\\\href{javascript:alert(3)}{x}$" + ATTACK: ATTACK}

def loud(*_):
    raise ValueError(ATTACK)

type("<img src=x onerror=alert(4)>", (ValueError,), {})
loud()
'''
RAISES = '''
def weighted_losses(losses, weights, params):
    raise type("<script>alert(5)</script>", (ValueError,), {})("<script>alert(6)</script>")
'''

MEMBERS = [
    Member("perfect", "the source itself, with its outputs"),
    Member(
        "otherwise",
        "other right ways",
        answers={
            "vjp": "alternative functional_vjp",
            "vjp_multi": "alternative borrowed_grad",
            "jac_rows": "alternative jacrev_of_the_rows",
            "weighted_losses": "alternative list_of_scalars",
            "jac_from_oracle": "alternative differences_of_sums",
            "layout_counterexample": "alternative an_unsymmetric_matrix",
        },
    ),
    Member("unsolved", "as it was released", dict.fromkeys(MOST, "stub"), scores=NOTHING),
    Member("emptied", "all answer cells emptied", dict.fromkeys(MOST, ""), scores=NOTHING),
    wrong(
        "mistaken",
        "one mistake in every exercise",
        {
            "vjp": ("jvp_instead", 0),
            "vjp_multi": ("first_output_only", 0),
            "jac_rows": ("columns_instead", 0),
            "weighted_losses": ("scaled_afterwards", 0),
            "jac_from_oracle": ("transposed", 0),
            "layout_counterexample": ("elementwise", 0),
        },
    ),
    wrong(
        "nearly",
        "right numbers, and something else amiss",
        {
            "vjp": ("full_jacobian", 3.5),
            "vjp_multi": ("none_for_unused", 3),
            "jac_rows": ("rows_in_default_dtype", 2),
            "weighted_losses": ("backward_and_grad", 2.75),
            "jac_from_oracle": ("every_row_of_a_band", 3),
            "layout_counterexample": ("two_elements", 1.5),
        },
    ),
    wrong(
        "partly",
        "wrong numbers in some cases",
        {
            "vjp": ("flat_gradient", 3),
            "vjp_multi": ("ones_for_none", 3.5),
            "jac_rows": ("flat_rows", 1.5),
            "weighted_losses": ("weights_not_converted", 2.5),
            "jac_from_oracle": ("outside_the_band_kept", 1.5),
            "layout_counterexample": ("in_float32", 1),
        },
    ),
    Member("helper", "an answer that needs a cell of the student's own", {"vjp": HELPED}, "help"),
    Member("deleter", "an answer cell and a check cell deleted", edit="delete", scores={"vjp": 0}),
    Member("rewriter", "the answer in a new cell, its own one deleted", edit="rewrite"),
    Member("copier", "an answer cell and a check cell twice", edit="duplicate"),
    Member("retyper", "an answer cell turned to Markdown, a check cell to raw", edit="retype"),
    Member("renamer", "a function renamed", edit="rename", scores={"vjp": 0}),
    Member("looper", "a loop without end", {"vjp": ENDLESS}, None, {"vjp": 0}, "timeout"),
    Member("stubborn", "a loop not to be stopped", {"vjp": STUBBORN}, None, {"vjp": 0}, "timeout"),
    Member(
        "crasher",
        "two functions that end the process",
        {"vjp": EXIT, "jac_rows": KILL},
        scores={"vjp": 0, "jac_rows": 0},
        state="crashed",
    ),
    Member("forger", "evidence of its own", {"vjp": FORGED}, scores={"vjp": 0},
           state="suspected_tampering"),
    Member(
        "hostile",
        "scripts in code, outputs, errors and metadata",
        {"vjp": HOSTILE, "weighted_losses": RAISES},
        edit="poison",
        scores={"vjp": 0, "weighted_losses": 0},
    ),
    Member("foreigner", "torch.py, links and data beside the notebook", edit="add_files"),
    Member("ancient", "notebook format 3", edit="format_3"),
    Member("broken", "half a file", edit="truncate", scores=NOTHING, state="invalid_file"),
    Member("hollow", "an empty file", edit="hollow", scores=NOTHING, state="invalid_file"),
    Member("futuristic", "notebook format 9", edit="format_9", scores=NOTHING,
           state="invalid_file"),
    Member("linker", "a link to another's notebook", edit="link", scores=NOTHING,
           state="invalid_file"),
    Member("confused", "another assignment's notebook", edit="confuse", scores=NOTHING,
           state="wrong_notebook"),
    Member("absent", "a notebook under another name", edit="misname", scores=NOTHING,
           state="missing_notebook"),
]  # fmt: skip


def class_of(assignment: str, most: dict[str, float], typical: dict[str, tuple[str, float]]):
    """Three members for one assignment: all solved, all emptied, typical mistakes."""
    here = {"assignment": assignment, "most": most}
    nothing = dict.fromkeys(most, 0)
    return [
        Member("perfect", "the source itself", **here),
        Member("emptied", "all cells emptied", dict.fromkeys(most, ""), scores=nothing, **here),
        wrong("typical", "mistakes that many make", typical, **here),
    ]


OTHERS = [
    *class_of(
        "01-graph",
        {"predict_flags": 4, "walk_graph": 4, "leaves_of": 3, "intermediate_grads": 4, "freeze": 5},
        {
            "predict_flags": ("read_too_early", 1),
            "walk_graph": ("none_not_skipped", 0),
            "leaves_of": ("once_for_each_use", 2.5),
            "intermediate_grads": ("retained_and_backward", 2),
            "freeze": ("eval_instead", 0),
        },
    ),
    *class_of(
        "04-api",
        {
            "grad_or_zero": 4,
            "backward_like": 4,
            "grad_wrt_slice": 3,
            "predict_second_call": 3,
            "flat_grad_breaker": 2,
            "flat_grad": 4,
        },
        {
            "grad_or_zero": ("zeros_always", 3),
            "predict_second_call": ("fails_unless_retained", 0),
            "flat_grad": ("the_seed_itself", 0.5),
        },
    ),
    *class_of(
        "06-cut",
        {
            "outcome": 4,
            "make_case": 3,
            "snapshot": 3,
            "sgd_step_": 3,
            "ema_update": 3,
            "evaluate": 4,
        },
        {
            "outcome": ("inconsistent_asked_first", 2.5),
            "sgd_step_": ("through_data", 2.5),
            "evaluate": ("outermost_mode_only", 3),
        },
    ),
    *class_of(
        "08-accumulation",
        {
            "accumulate": 4,
            "accumulate_tokens": 4,
            "accumulate_then_clip": 3,
            "predict_step": 3,
            "bn_gap": 3,
            "step_every": 3,
        },
        {
            "accumulate": ("divided_by_k", 0),
            "accumulate_tokens": ("token_means_over_k", 0),
            "predict_step": ("none_as_0", 1),
            "step_every": ("tail_lost", 1),
        },
    ),
    *class_of(
        "10-higher-order",
        {
            "nth_derivative": 4,
            "hessian": 4,
            "row_sum_counterexample": 2,
            "hess_diag": 3,
            "laplacian": 4,
            "second_grad": 3,
        },
        {
            "nth_derivative": ("retain_graph_only", 0),
            "hess_diag": ("row_sums", 0),
            "laplacian": ("not_trainable", 2.75),
            "second_grad": ("backward_with_a_graph", 2),
        },
    ),
]

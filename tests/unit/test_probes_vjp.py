"""The probes of assignment 03 ask hard enough questions, and nothing earns points for free."""

import time

import numpy as np
import pytest
import torch

from grading.key import Reference
from grading.misconceptions import alternatives, misconceptions
from tutor.evidence import dumps, loads
from tutor.exercise import collect, exercises, find
from tutor.probing import Guard, cost, curve, signed, sizes
from tutor.verdict import difference, judge

NAMES = ["vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle"]
ALL = [*NAMES, "layout_counterexample"]
# Not the seeds that `make proofs` uses.
SEEDS = [f"unit-{i}" for i in range(5)]


@pytest.fixture(scope="module")
def reference():
    return Reference("03-vjp")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def points(reference, name, answer, seed="unit"):
    exercise = find(name)
    return judge(exercise, collect(exercise, answer, seed), reference.key(name, seed)).points


def failed(reference, name, answer, seed="unit"):
    exercise = find(name)
    verdict = judge(exercise, collect(exercise, answer, seed), reference.key(name, seed))
    return [line.facet.name for line in verdict.facets if not line.passed]


def record(name, reference, seed):
    """All arguments with which the probe calls the answer."""
    calls = []
    solution = reference.answer(name)

    def recording(*args):
        calls.append(args)
        return solution(*args)

    collect(find(name), recording, seed)
    return calls


# ------------------------------------------------------------------------------ the exercises


def test_six_exercises_make_twenty_points():
    found = exercises("03-vjp")
    assert [e.name for e in found] == ALL
    assert sum(e.points for e in found) == 20


@pytest.mark.parametrize("name", ALL)
def test_checks_in_the_notebook_are_worth_what_the_facets_are(name, reference):
    cell = next(c for c in reference.notebook.cells if c.source == f"check({name})")
    assert cell.metadata.nbgrader.points == find(name).points
    assert cell.metadata.nbgrader.grade_id == f"check-{name}"


@pytest.mark.parametrize("name", ALL)
def test_enough_wrong_and_right_answers(name):
    assert len(misconceptions(name)) >= 5
    assert len(alternatives(name)) >= 2


@pytest.mark.parametrize("name", ALL)
def test_every_right_way_leaves_equal_evidence(name, reference):
    compared = 0
    for seed in SEEDS:
        key = reference.key(name, seed)
        for right in alternatives(name):
            evidence = collect(find(name), right.answer, seed)
            for facet in key:
                found = difference(evidence[facet], key[facet])
                assert found is None, f"{right.name}, {facet}, {seed}: {found}"
                compared += 1
    assert compared >= 2 * len(SEEDS) * len(find(name).facets)


@pytest.mark.parametrize("name", ALL)
def test_every_misconception_is_refused_and_named(name, reference):
    named = 0
    for seed in SEEDS:
        known = reference.misconceptions(name, seed)
        key = reference.key(name, seed)
        for m in known:
            verdict = judge(find(name), m.evidence, key, known)
            assert verdict.points < verdict.max_points, f"{m.name} under {seed}"
            assert verdict.misconception is m, f"{m.name} under {seed}"
            named += 1
    assert named >= 5 * len(SEEDS)


@pytest.mark.parametrize("name", ALL)
def test_evidence_is_small_survives_json_and_comes_quickly(name, reference):
    reference.key(name, "warm")
    start = time.process_time()  # seconds of this process, whatever else the machine does
    evidence = reference.key(name, "unit")
    assert time.process_time() - start < 0.25
    text = dumps(name, evidence)
    assert len(text) < 30_000
    assert loads(text) == (name, evidence)


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_evidence_and_another_seed_other_inputs(name, reference):
    assert reference.key(name, "a") == reference.key(name, "a")
    if name != "layout_counterexample":  # there the student chooses the input
        assert reference.key(name, "a") != reference.key(name, "b")


# ---------------------------------------------------------------------------------- the inputs


@pytest.mark.parametrize("seed", SEEDS)
def test_inputs_of_vjp_hide_nothing(seed, reference):
    xs, vs, ratios = [], [], []
    for f, x, v in record("vjp", reference, seed):
        xs.append(x)
        vs.append(v)
        try:
            ratios.append((torch.as_tensor(f(x)).numel(), x.numel()))
        except KeyError:  # the f that raises an error of its own
            continue
    assert not any(v.numel() > 1 and torch.equal(v, torch.ones_like(v)) for v in vs)
    assert all(m != n for m, n in ratios[:2])
    assert any(m > n for m, n in ratios) and any(m < n for m, n in ratios)
    assert {x.dtype for x in xs} == {torch.float32, torch.float64}
    assert {x.dim() for x in xs} >= {0, 1, 2}
    assert {x.numel() for x in xs} >= {0, 1}
    assert any(not x.is_contiguous() for x in xs) and any(x.requires_grad for x in xs)
    assert any(0 in x.stride() and x.numel() > 1 for x in xs)


@pytest.mark.parametrize("seed", SEEDS)
def test_jacobians_of_vjp_are_neither_square_nor_symmetric_nor_diagonal(seed, reference):
    for f, x, _ in record("vjp", reference, seed)[:2]:
        jac = torch.autograd.functional.jacobian(f, x)
        k = min(jac.shape)
        corner = jac[:k, :k]
        assert jac.shape[0] != jac.shape[1]
        assert not torch.allclose(corner, corner.T, rtol=1e-3)
        assert (jac.abs() > 1e-6).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_of_losses_are_not_a_distribution(seed, reference):
    weights = [torch.as_tensor(w) for _, w, _ in record("weighted_losses", reference, seed)]
    assert any((w < 0).any() and (w > 0).any() for w in weights)
    assert any((w == 0).any() and (w != 0).any() for w in weights)
    assert all(abs(w.sum() - 1) > 1e-6 for w in weights[:2])
    assert {w.dtype for w in weights} >= {torch.bool, torch.int64, torch.float64}


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_out_of_order_repeated_and_none(seed, reference):
    asked = [rows for _, _, rows in record("jac_rows", reference, seed)]
    assert any(rows != sorted(rows) for rows in asked)
    assert any(len(rows) != len(set(rows)) for rows in asked)
    assert [] in asked


# ------------------------------------------------------------------- answers that did not solve


def unsolved(*args):
    raise NotImplementedError


def refuse(*args):
    raise ValueError


IDLE = {
    "a stub": dict.fromkeys(ALL, unsolved),
    "None": dict.fromkeys(ALL, lambda *args: None),
    "ValueError": dict.fromkeys(ALL, refuse),
    "the arguments": dict.fromkeys(ALL, lambda *args: args),
    "zeros": {
        "vjp": lambda f, x, v: (f(x).detach(), torch.zeros_like(x)),
        "vjp_multi": lambda ys, xs, vs: [torch.zeros_like(x) for x in xs],
        "jac_rows": lambda f, x, rows: torch.zeros(len(rows), *x.shape, dtype=x.dtype),
        "weighted_losses": lambda losses, weights, ps: [torch.zeros_like(p) for p in ps],
        "jac_from_oracle": lambda vjp_fn, m, n, bandwidth=None: torch.zeros(m, n),
        "layout_counterexample": lambda: (torch.zeros_like, torch.zeros(3)),
    },
    "x and v": {
        "vjp": lambda f, x, v: (f(x).detach(), x.detach()),
        "vjp_multi": lambda ys, xs, vs: vs,
        "jac_rows": lambda f, x, rows: torch.stack([x.detach() for _ in rows]),
        "weighted_losses": lambda losses, weights, ps: weights,
        "jac_from_oracle": lambda vjp_fn, m, n, bandwidth=None: torch.eye(m, n),
        "layout_counterexample": lambda: (lambda x: x, torch.ones(3)),
    },
}


@pytest.mark.parametrize("kind", IDLE)
@pytest.mark.parametrize("name", ALL)
def test_an_answer_that_solves_nothing_earns_nothing(kind, name, reference):
    assert points(reference, name, IDLE[kind][name]) == 0


def test_catching_everything_does_not_pass(reference):
    def catch_all(f, x, v):
        try:
            return reference.answer("vjp")(f, x, v)
        except Exception as error:
            raise ValueError from error

    assert failed(reference, "vjp", catch_all) == ["refused"]


def test_changing_the_cotangent_does_not_pass(reference):
    def spoil(f, x, v):
        result = reference.answer("vjp")(f, x, v)
        if v.shape == result[0].shape:
            v.zero_()
        return result

    assert failed(reference, "vjp", spoil) == ["untouched"]


def test_switching_gradients_off_for_good_does_not_pass(reference):
    def switch_off(f, x, v):
        result = reference.answer("vjp")(f, x, v)
        torch.set_grad_enabled(False)
        return result

    assert points(reference, "vjp", switch_off) == 0
    assert torch.is_grad_enabled()


def test_reading_the_jacobian_out_of_the_oracle_breaks_the_count_of_questions(reference):
    def read(vjp_fn, m, n, bandwidth=None):
        cells = [cell.cell_contents for cell in vjp_fn.__closure__]
        return next(c for c in cells if isinstance(c, torch.Tensor)).clone()

    assert failed(reference, "jac_from_oracle", read) == ["calls", "budget"]


class Transposed(torch.autograd.Function):
    """The identity with a false derivative."""

    @staticmethod
    def forward(ctx, x):
        return x * 1e-9

    @staticmethod
    def backward(ctx, grad):
        return torch.cumsum(grad, 0) * 1e-9


def test_a_false_derivative_is_no_counterexample(reference):
    answer = lambda: (Transposed.apply, torch.arange(3.0))  # noqa: E731
    assert failed(reference, "layout_counterexample", answer) == ["honest"]


def test_nan_is_no_counterexample(reference):
    answer = lambda: (lambda x: torch.cumsum(x, 0) * torch.nan, torch.arange(3.0))  # noqa: E731
    assert points(reference, "layout_counterexample", answer) == 0


# ---------------------------------------------------------------------------- the tools of probes


def test_sizes_differ(rng):
    for _ in range(50):
        assert len(set(sizes(rng, 3))) == 3


def test_signed_numbers_stay_away_from_zero_and_have_both_signs(rng):
    values = signed(rng, 200)
    assert values.abs().min() >= 0.5 and (values < 0).any() and (values > 0).any()


def test_curve_is_differentiable_in_every_direction(rng):
    f, x = curve(rng, 5, 3), signed(rng, 3).requires_grad_()
    assert torch.autograd.gradcheck(f, x)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda x: None, set()),
        (lambda x: x.detach().add_(1), {"x unchanged"}),
        (lambda x: x.requires_grad_(False), {"x unchanged"}),
        (lambda x: x.grad.add_(1), {"x.grad unchanged"}),
        (lambda x: setattr(x, "grad", x.grad.clone()), {"x.grad unchanged"}),
        (lambda x: setattr(x, "grad", None), {"x.grad unchanged"}),
    ],
)
def test_guard_reports_each_kind_of_change(change, broken, rng):
    x = signed(rng, 3).requires_grad_()
    x.grad = signed(rng, 3)
    guard = Guard(x=x)
    change(x)
    report = guard.report()
    assert set(report) == {"x unchanged", "x.grad unchanged"}
    assert {name for name, kept in report.items() if not kept} == broken


def test_cost_counts_passes_and_the_largest_tensor():
    x = torch.ones(4, requires_grad=True)

    def work():
        y = x * 2
        for _ in range(3):
            torch.autograd.grad(y, x, torch.ones(4), retain_graph=True)
        torch.ones(2, 50)

    assert cost(work) == (3, 100)

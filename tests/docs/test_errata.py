"""docs/errata.md: every piece of evidence runs and prints what stands below it."""

import contextlib
import io
import warnings
from collections import Counter

import pytest
import torch

from grading.parity import compare

from .documents import ITEM, entries, lessons, rows

CUT = " …"  # ends the line of an exception that goes on
EVIDENCE = [entry for entry in entries() if entry.kind == "run"]


@contextlib.contextmanager
def fresh_torch():
    """What a new interpreter would start with; the state of before afterwards."""
    dtype, tracking = torch.get_default_dtype(), torch.is_grad_enabled()
    always = torch.is_warn_always_enabled()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            torch.set_printoptions(profile="default")
            torch.manual_seed(0)
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(tracking)
            torch.set_printoptions(profile="default")
            torch.set_warn_always(always)


def run(code: str, name: str) -> tuple[list[str], bool]:
    """The lines a piece of evidence prints, the exception that ends it last, and if there was one.

    Only `torch` is imported beforehand.
    """
    out, raised = io.StringIO(), False
    with fresh_torch(), contextlib.redirect_stdout(out):
        try:
            exec(compile(code, name, "exec"), {"torch": torch})  # noqa: S102 - our own document
        except Exception as error:
            raised = True
            print(f"{type(error).__name__}: {error}".splitlines()[0])
    return out.getvalue().rstrip("\n").splitlines(), raised


def differs(lines: list[str], raised: bool, expected: list[str]) -> bool:
    """Whether the output is another; only the line of an exception may be cut short."""
    if not expected or len(lines) != len(expected) or lines[:-1] != expected[:-1]:
        return True
    last, shown = lines[-1], expected[-1]
    if raised and shown.endswith(CUT):
        start = shown.removesuffix(CUT)
        return len(start) < 40 or not last.startswith(start) or last == start
    return last != shown


@pytest.mark.parametrize("entry", EVIDENCE, ids=lambda entry: entry.item)
def test_the_evidence_prints_what_stands_below_it(entry):
    lines, raised = run(entry.code, f"errata.md {entry.item}")
    assert not differs(lines, raised, entry.output.splitlines()), "\n".join(lines)


def test_there_is_evidence_and_what_has_none_says_so():
    kinds = Counter(entry.kind for entry in entries())
    print(f"{len(entries())} entries: {dict(kinds)}")
    assert kinds["run"] == len(EVIDENCE) > 0
    assert kinds["run"] > kinds["prose"] + kinds["typo"]
    assert [name for name, count in Counter(e.item for e in entries()).items() if count > 1] == []


def test_every_name_is_an_item_or_one_of_the_documentation():
    known = {row.item for row in rows()}
    documentation = [entry.item for entry in entries() if entry.item not in known]
    print(f"{len(documentation)} errata of the documentation")
    assert documentation == [f"D-{n + 1}" for n in range(len(documentation))] != []


def test_both_languages_of_an_entry_agree():
    faults, counts = [], Counter()
    for entry in entries():
        found, compared = compare(entry.zh, entry.en)
        faults += [f"{entry.item}: {fault}" for fault in found]
        counts += compared
    print(f"{counts['pairs']} pairs, {counts['code spans']} code spans, {counts['terms']} terms")
    assert faults == []
    assert counts["pairs"] == len(entries()) > 0


def test_an_entry_and_its_row_name_the_same_lessons():
    entry_of = {entry.item: entry for entry in entries()}
    compared = [row for row in rows() if row.item in entry_of]
    print(f"{len(compared)} entries compared with their rows")
    assert compared
    for row in compared:
        where = entry_of[row.item].where
        assert list(where.lessons) == list(row.where.lessons), row.item
        assert where.soon == row.where.soon, row.item


def test_a_section_that_is_named_exists_and_is_the_one_the_lesson_names():
    named = 0
    for entry in entries():
        for stem, sections in entry.where.lessons.items():
            lesson = lessons()[stem]
            named += len(sections)
            assert set(sections) <= lesson.sections, (entry.item, stem)
            if ITEM.fullmatch(entry.item):
                assert sections == lesson.corrected.get(entry.item, []), (entry.item, stem)
            else:
                assert sections, (entry.item, stem)
    print(f"{named} sections named")
    assert named


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(1)", ["2"]),
        ("print(1)", ["1", "2"]),
        ("print(1)", []),
        ("", []),
        ("print(1)", ["NameError: name 'x' is not defined"]),
        ("print(1)\nx", ["1"]),
        ("print(1)\nx", ["1", "NameError: name 'y' is not defined"]),
        ("raise ValueError('a' * 60)", ["ValueError: …"]),
        ("raise ValueError('a' * 60)", ["ValueError: " + "a" * 50 + "b …"]),
        ("print('a' * 60)", ["a" * 50 + " …"]),
        ("print(torch.zeros(1).dtype)", ["torch.float64"]),
    ],
)
def test_a_wrong_output_is_found(code, expected):
    assert differs(*run(code, "made up"), expected)


def test_one_piece_of_evidence_leaves_nothing_for_the_next():
    run("torch.set_default_dtype(torch.float64)\nleft = 1\ntorch.set_grad_enabled(False)", "first")
    lines, raised = run("print(torch.zeros(1).dtype, torch.is_grad_enabled())\nleft", "second")
    assert (lines[0], raised) == ("torch.float32 True", True)

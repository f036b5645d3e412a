"""A verdict finds what differs first, gives points by facet and names misconceptions."""

from html.parser import HTMLParser

import pytest
import torch

from tutor.evidence import observe
from tutor.exercise import Exercise, Facet
from tutor.table import as_html, as_text, sentences
from tutor.verdict import Misconception, difference, judge

a = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
changed = a.clone()
changed[1, 2] = 6.001
DIFFERENCES = {
    "value": (changed, a, "value", "[1, 2]"),
    "shape": (a.T, a, "shape", ""),
    "dtype": (a.float(), a, "dtype", ""),
    "type": (6.0, torch.tensor(6.0), "type", ""),
    "bool is no integer": (True, 1, "type", ""),
    "none": (None, a, "type", ""),
    "length": ((a,), (a, a), "length", ""),
    "inside a tuple": ((a, changed), (a, a), "value", "[1][1, 2]"),
    "names": ({"w": 1.0}, {"b": 1.0}, "names", ""),
    "inside a dict": ({"w": changed}, {"w": a}, "value", "['w'][1, 2]"),
    "number": (1.0, 1.0001, "value", ""),
    "integer": (1, 2, "value", ""),
    "nan against a number": (torch.tensor([float("nan")]), torch.tensor([1.0]), "value", "[0]"),
    "scalar": (torch.tensor(1.0), torch.tensor(2.0), "value", ""),
    "imaginary part": (torch.tensor([1 + 2j]), torch.tensor([1 + 3j]), "value", "[0]"),
}
ERROR = {"raises": "ValueError", "message": "v"}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_first_difference(name):
    yours, expected, kind, where = DIFFERENCES[name]
    found = difference(observe(yours), observe(expected))
    assert (found.kind, found.where) == (kind, where)
    assert difference(observe(expected), observe(expected)) is None


def test_errors_are_compared_by_type():
    assert difference(ERROR, ERROR | {"message": "other words"}) is None
    assert difference(ERROR, ERROR | {"raises": "TypeError"}).kind == "raises"
    assert difference(ERROR, observe(a)).kind == "raises"
    assert difference(observe(a), ERROR).kind == "no error"


@pytest.mark.parametrize(
    ("dtype", "noise", "wrong"), [(torch.float64, 1e-12, 1e-6), (torch.float32, 1e-6, 1e-3)]
)
def test_room_for_rounding_and_for_nothing_more(dtype, noise, wrong):
    b = a.to(dtype)
    assert difference(observe(b * (1 + noise)), observe(b)) is None
    assert difference(observe(b * (1 + wrong)), observe(b)).kind == "value"
    zero = torch.zeros(2, dtype=dtype)
    assert difference(observe(zero + wrong), observe(zero)).kind == "value"


def test_nan_agrees_with_nan_only():
    nan = observe(torch.tensor([float("nan"), float("inf")]))
    assert difference(nan, nan) is None
    assert difference(observe(torch.tensor([float("inf"), float("nan")])), nan).where == "[0]"


FACETS = (
    Facet("value", 2, "数值", "value"),
    Facet("dtype", 1, "类型", "dtype", needs=("value",)),
    Facet("clean", 1, "无副作用", "no side effects", needs=("dtype",)),
)
TASK = Exercise("task", "99-x", FACETS, None)
KEY = {"value": observe(a), "dtype": observe("float32"), "clean": observe(True)}


def wrong(name, **facets):
    return Misconception(name, f"{name} 中文", f"{name} English", KEY | facets)


DOUBLED = wrong("doubled", value=observe(2 * a))
DOUBLED_DIRTY = wrong("doubled_dirty", value=observe(2 * a), clean=observe(False))
CRASH = wrong("crash", value={"raises": "RuntimeError", "message": "shape [2]"})


def test_points_by_facet_and_what_a_facet_needs():
    assert judge(TASK, KEY, KEY).points == 4
    assert judge(TASK, KEY, KEY).passed
    assert judge(TASK, KEY | {"clean": observe(False)}, KEY).points == 3
    blocked = judge(TASK, DOUBLED.evidence, KEY)
    assert [f.points for f in blocked.facets] == [0, 0, 0]
    assert [f.blocked for f in blocked.facets] == [None, "value", "dtype"]
    assert judge(TASK, {}, KEY).points == 0


def test_a_misconception_is_named_as_itself():
    known = [DOUBLED, DOUBLED_DIRTY, CRASH]
    for m in known:
        assert judge(TASK, m.evidence, KEY, known).misconception is m
    assert judge(TASK, KEY, KEY, known).misconception is None
    assert judge(TASK, KEY | {"value": observe(3 * a)}, KEY, known).misconception is None


def test_of_several_the_one_that_agrees_on_most_is_named():
    known = [DOUBLED, wrong("doubled_twice", value=observe(2 * a), dtype=observe("float64")), CRASH]
    also = KEY | {"value": observe(2 * a), "dtype": observe("float64")}
    assert judge(TASK, also, KEY, known).misconception.name == "doubled_twice"
    assert judge(TASK, DOUBLED.evidence, KEY, known[::-1]).misconception is DOUBLED


def test_a_facet_that_has_to_wait_names_nothing():
    dirty = wrong("dirty", clean=observe(False))
    evidence = KEY | {"value": observe(3 * a), "clean": observe(False)}
    assert judge(TASK, evidence, KEY, [dirty]).misconception is None
    assert judge(TASK, dirty.evidence, KEY, [dirty]).misconception is dirty


def test_an_error_with_another_message_is_another_error():
    evidence = KEY | {"value": {"raises": "RuntimeError", "message": "something else"}}
    assert judge(TASK, evidence, KEY, [CRASH]).misconception is None


class Text(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.languages = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.languages += [value for name, value in attrs if name == "lang"]

    def handle_data(self, data):
        self.text += data


def test_the_table_says_yours_expected_and_the_misconception_in_both_languages():
    verdict = judge(TASK, DOUBLED.evidence, KEY, [DOUBLED])
    page = Text(as_html(verdict))
    for text in (page.text, as_text(verdict)):
        for part in ("task  ✗ 0/4", "2, 4, 6", "1, 2, 3", "doubled 中文", "doubled English"):
            assert part in text
        for sentence in sentences(verdict.facets[0].difference):
            assert sentence in text
    assert page.languages.count("zh") == page.languages.count("en") > 0


def test_the_table_shows_the_item_that_differs():
    facets = {"value": observe({"first": a, "second": changed})}
    key = {"value": observe({"first": a, "second": a})}
    task = Exercise("task", "99-x", FACETS[:1], None)
    text = as_text(judge(task, facets, key))
    assert "yours:    float64 (2, 3) [[1, 2, 3], [4, 5, 6.001]]" in text
    assert "expected: float64 (2, 3) [[1, 2, 3], [4, 5, 6]]" in text
    assert "item ['second'][1, 2] is 6.001, expected 6" in text


def test_a_feedback_page_holds_nothing_of_the_key():
    verdict = judge(TASK, DOUBLED.evidence, KEY, [DOUBLED])
    for text in (as_html(verdict, expected=False), as_text(verdict, expected=False)):
        assert "1, 2, 3" not in text
        assert "expected" not in text
        assert "2, 4, 6" in text


def test_every_kind_of_difference_has_its_sentences():
    cases = [difference(observe(y), observe(e)) for y, e, *_ in DIFFERENCES.values()]
    cases += [difference(observe(a), ERROR), difference(ERROR, observe(a))]
    for found in cases:
        for expected in (True, False):
            zh, en = sentences(found, expected)
            assert zh and en and "{" not in zh + en
            assert (found.yours in zh) == (found.yours in en)
    hidden = difference(observe(a), observe(a + 0.125))
    assert "1.125" in sentences(hidden)[1]
    assert "1.125" not in "".join(sentences(hidden, expected=False))


def test_what_a_student_wrote_is_escaped():
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    evidence = {
        "value": {"raises": evil, "message": evil},
        "dtype": observe({evil: evil}),
        "clean": {"object": evil},
    }
    note = (evil, evil)
    for verdict in (judge(TASK, evidence, KEY), judge(TASK, {}, KEY, note=note)):
        page = Text(as_html(verdict))
        assert not {"script", "img"} & set(page.tags)


def test_what_is_unproven_earns_nothing_and_says_so():
    """Nor does what needs it; what is wrong stays wrong."""
    names = "value", "flags", "after", "wrong"
    needs = {"after": ("flags",), "wrong": ("value",)}
    facets = tuple(Facet(n, 1, f"中 {n}", f"en {n}", needs.get(n, ())) for n in names)
    task = Exercise("f", "99-toy", facets, None)
    key = {name: observe(True) for name in names}
    evidence = key | {"wrong": observe(False)}
    doubt = ("为什么", "why")
    verdict = judge(task, evidence, key, unproven=("flags", "wrong"), doubt=doubt)
    found = {line.facet.name: (line.points, line.unproven) for line in verdict.facets}
    assert found == {
        "value": (1, False), "flags": (0, True), "after": (0, True), "wrong": (0, False)
    }  # fmt: skip
    assert verdict.points == 1 and not verdict.passed
    assert not judge(task, key, key, unproven=("flags",), doubt=doubt).passed
    text, page = as_text(verdict), as_html(verdict, expected=False)
    for shown in (text, page):
        assert all(part in shown for part in (*doubt, "由教师复核", "for a teacher to look at"))
        assert "先修好" not in shown
    assert text.count("由教师复核") == 2

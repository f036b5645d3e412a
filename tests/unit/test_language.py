"""The language switch: what its HTML holds. That it works is seen in tests/browser."""

import re
import sys
from html.parser import HTMLParser

import pytest

from tutor.language import CHOICES, PLACES, Language, language


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def radios(default):
    return [attrs for tag, attrs in Tags(Language(default).html).tags if tag == "input"]


@pytest.mark.parametrize("default", CHOICES)
def test_three_buttons_of_one_group_and_the_default_is_checked(default):
    buttons = radios(default)
    assert [button["class"] for button in buttons] == ["lang-zh", "lang-en", "lang-both"]
    assert {button["type"] for button in buttons} == {"radio"}
    assert len({button["name"] for button in buttons}) == 1
    assert [b["class"] for b in buttons if "checked" in b] == [f"lang-{default}"]


def test_buttons_stand_in_a_form_of_their_own_that_cannot_be_submitted():
    tags = Tags(Language("both").html).tags
    assert [attrs for tag, attrs in tags if tag == "form"] == [{"method": "dialog"}]


def test_no_script():
    html = Language("both").html
    assert "<script" not in html and not re.search(r"\son\w+=", html)


def test_each_rule_is_bound_to_its_notebook_and_to_a_place():
    rules = re.findall(r"([^{}]+)\{display: none;\}", Language("both").html)
    selectors = [line.strip() for rule in rules for line in rule.split(",\n")]
    assert len(selectors) == 2 * len(PLACES)
    pattern = r"\.jp-Notebook:has\(\.lang-(zh|en):checked\) \.[\w-]+ \[lang=(zh|en)\]"
    pairs = {re.fullmatch(pattern, selector).groups() for selector in selectors}
    assert pairs == {("zh", "en"), ("en", "zh")}


def test_plain_text_says_the_choice():
    assert Language("en").text == "中文 · [English] · 双语"


def test_language_displays_it(monkeypatch):
    shown = []
    # tutor.language is the function; the module is found by its name alone.
    monkeypatch.setattr(sys.modules["tutor.language"], "display", shown.append)
    assert language() is None
    bundle = shown[0]._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}


def test_unknown_language_is_refused_in_both_languages():
    with pytest.raises(ValueError, match=r"'fr'。 / language\(\) takes"):
        language("fr")

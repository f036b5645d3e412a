"""docs/coverage.md has every item of the seeds once, and says truly where each is treated."""

import re
from collections import Counter

import pytest

from grading.parity import compare

from .documents import (
    COVERAGE,
    ERRATA,
    ITEM,
    ITEMS_OF_SEED,
    course,
    entries,
    introductions,
    lessons,
    rows,
)


def test_every_item_of_the_seeds_has_one_row():
    expected = [f"{seed}-{n + 1}" for seed, count in ITEMS_OF_SEED.items() for n in range(count)]
    print(f"{len(rows())} rows; marks: {dict(Counter(row.mark for row in rows()))}")
    assert len(expected) == 160
    assert [row.item for row in rows()] == expected


def test_a_linked_lesson_exists_and_names_the_item():
    links = [(row.item, stem) for row in rows() for stem in row.where.lessons]
    print(f"{len(links)} links to lessons")
    assert links
    assert [link for link in links if link[1] not in lessons()] == []
    assert [(item, stem) for item, stem in links if item not in lessons()[stem].text] == []


def test_what_a_lesson_draws_on_has_that_lesson_in_its_row():
    named = [(item, stem) for stem, lesson in lessons().items() for item in lesson.sources]
    where = {row.item: row.where.lessons for row in rows()}
    print(f"{len(named)} items named in the sources of {len(lessons())} lessons")
    assert named
    assert all(lesson.sources for lesson in lessons().values()), "a lesson names no source"
    assert sorted(pair for pair in named if pair[1] not in where.get(pair[0], {})) == []


def test_a_lesson_to_come_is_planned_and_not_there_yet():
    soon = [(row.item, number) for row in rows() for number in row.where.soon]
    there = {stem[:2] for stem in lessons()}
    print(f"{len(soon)} times a lesson to come; planned: {sorted(course() - there)}")
    assert len(course()) > 10
    assert soon or there >= course()
    assert [pair for pair in soon if pair[1] not in course()] == [], "not in the README's table"
    assert [pair for pair in soon if pair[1] in there] == [], "this lesson exists: link it"


def test_a_row_links_to_its_erratum_and_every_erratum_is_linked():
    linked = {row.item: row.where.erratum for row in rows() if row.where.erratum}
    there = {entry.item: entry.item.lower() for entry in entries() if ITEM.fullmatch(entry.item)}
    print(f"{len(linked)} links to errata")
    assert linked
    assert linked == there


def test_what_is_not_right_has_an_erratum_with_the_same_mark():
    marks = {entry.item: entry.mark for entry in entries()}
    faulty = [row for row in rows() if row.mark in "≈↑✗∅"]
    print(f"{len(faulty)} items that are not right")
    assert faulty
    assert [row.item for row in faulty if row.item not in marks] == []
    rows_with = {row.item: row.mark for row in rows() if row.item in marks}
    assert rows_with == {item: mark for item, mark in marks.items() if ITEM.fullmatch(item)}


def test_what_a_lesson_corrects_has_an_erratum():
    corrected = {item for lesson in lessons().values() for item in lesson.corrected}
    print(f"{len(corrected)} items in the lessons' tables of corrections")
    assert corrected
    assert corrected - {entry.item for entry in entries()} == set()


def test_both_languages_of_a_row_agree():
    faults, counts = [], Counter()
    for row in rows():
        found, compared = compare(row.zh, row.en)
        faults += [f"{row.item}: {fault}" for fault in found]
        counts += compared
    print(f"{counts['pairs']} pairs, {counts['terms']} terms")
    assert faults == []
    assert counts["pairs"] == 160


@pytest.mark.parametrize("document", [COVERAGE, ERRATA], ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    print(f"{len(links)} links in {document.name}")
    assert links
    files = {link.split("#")[0] for link in links}
    assert [name for name in files if not (document.parent / name).is_file()] == []
    other = {COVERAGE: ERRATA, ERRATA: COVERAGE}[document]
    assert other.name in files, "a reader must be able to move to the other page"


@pytest.mark.parametrize("document", [COVERAGE, ERRATA], ids=lambda path: path.name)
def test_both_languages_of_the_introductions_agree(document):
    paragraphs = introductions(document)
    pairs = list(zip(paragraphs[::2], paragraphs[1::2], strict=True))
    print(f"{len(pairs)} pairs in {document.name}")
    assert len(pairs) >= 2
    assert [fault for zh, en in pairs for fault in compare(zh, en)[0]] == []


def test_the_name_of_an_item_is_read_whole():
    assert ITEM.findall("S1-14、S1-1。(S4-29) xS0-1 S0-1-2 S5-1") == ["S1-14", "S1-1", "S4-29"]

"""The journal: whatever ends the grader, what it had reached is there, and nothing else is."""

import errno
import os

import pytest

from grading import journal as journals
from grading.journal import Busy, Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal" / "01-a.jsonl"


def result(number: int, size: int = 10) -> dict:
    return {"notebook": "文" * size, "summary": {"key": f"key {number}"}, "seconds": 0.5}


def write(path, *students: str) -> None:
    with Journal(path) as journal:
        for number, student in enumerate(students):
            journal.append(student, result(number))


def read(path) -> dict[str, str]:
    with Journal(path) as journal:
        return {student: found["summary"]["key"] for student, found in journal.results()}


def test_what_is_appended_is_read_again_and_the_last_counts(path):
    write(path, "ann", "王 芳", "ann", '"; DROP TABLE grade')
    assert read(path) == {"ann": "key 2", "王 芳": "key 1", '"; DROP TABLE grade': "key 3"}
    assert path.read_bytes().count(b"\n") == 4
    with Journal(path) as journal:
        assert dict(journal.results())["ann"] == result(2)


def test_a_line_that_is_torn_anywhere_is_passed_over(path):
    write(path, "ann", "bob")
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for length in range(start, len(whole)):
        path.write_bytes(whole[:length])
        assert read(path) == {"ann": "key 0"}, length
    assert len(whole) - start > 50


def test_a_line_that_is_altered_is_passed_over_and_counted(path):
    write(path, "ann", "bob", "carl")
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [
        lines[1].replace(b"key 1", b"key 9"),
        lines[1][1:],
        b"\0" * len(lines[1]) + b"\n",
        b"\n",
        b"{}\n",
        lines[1].replace(b" ", b"\n", 1),
        "不是".encode() + lines[1],
    ]
    for line in damaged:
        path.write_bytes(lines[0] + line + lines[2])
        with Journal(path) as journal:
            assert [student for student, _ in journal.results()] == ["ann", "carl"]
            assert journal.damaged == line.count(b"\n")
    assert len(damaged) == 7


def test_it_is_emptied_at_the_end_or_when_it_is_large(path, monkeypatch):
    monkeypatch.setattr(journals, "LARGE", 2000)
    with Journal(path) as journal:
        journal.append("ann", result(0))
        journal.all_recorded()
        assert [student for student, _ in journal.results()] == ["ann"]
        journal.append("bob", result(1, 1000))
        journal.all_recorded()
        assert list(journal.results()) == [] and path.stat().st_size == 0
        journal.append("carl", result(2))
        journal.all_recorded(at_end=True)
        assert path.stat().st_size == 0


def test_two_runs_of_one_assignment_are_refused_and_a_dead_one_is_no_hindrance(path):
    with Journal(path), pytest.raises(Busy, match=" / Another process"), Journal(path):
        pass
    child = os.fork()
    if not child:
        Journal(path)
        os._exit(9)
    os.waitpid(child, 0)
    assert read(path) == {}


def test_a_full_disk_leaves_the_journal_as_it_was(path, monkeypatch):
    write(path, "ann")
    with Journal(path) as journal:
        real = journal._file

        class Full:
            """A file on which there is room for twenty bytes more."""

            def __getattr__(self, name):
                return getattr(real, name)

            def write(self, content):
                return real.write(content[:20])

        journal._file = Full()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            journal.append("bob", result(1))
        journal._file = real
        journal.append("carl", result(2))
    assert read(path) == {"ann": "key 0", "carl": "key 2"}

"""A gradebook in PostgreSQL: a server of our own, if Debian's package is installed."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from classroom import ASSIGNMENT

from grading.runner import Course

from .rows import rows_of

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NAMES = ("perfect", "nearly")


def as_somebody() -> dict:
    """For subprocess: PostgreSQL refuses to be run by root."""
    if os.geteuid():
        return {}
    somebody = pwd.getpwnam("nobody")
    return {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}


@pytest.fixture
def server(tmp_path_factory):
    """The URL of a new server's database, on a socket in a folder of its own."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not below pytest's own folder, which is closed to others.
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True,
                                 check=True).stdout.strip())  # fmt: skip
    who = as_somebody()
    if who:
        shutil.chown(folder, who["user"], who["group"])
    data, programs = folder / "data", PROGRAMS[-1]
    options = {"cwd": folder, **who}
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "grader", "-A", "trust", "-E", "UTF8",
             "--locale", "C"],
            check=True, capture_output=True, **options,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, "-h", ""],
                stdout=log, stderr=log, **options,
            )  # fmt: skip
            try:
                deadline = time.monotonic() + 60
                ready = [programs / "pg_isready", "-h", folder, "-q"]
                while subprocess.run(ready).returncode and time.monotonic() < deadline:
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.1)
                yield f"postgresql+psycopg2://grader@/postgres?host={folder}"
            finally:
                process.terminate()
                process.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def test_a_gradebook_in_postgresql_holds_the_same(make_course, server, tmp_path):
    in_file = make_course(*NAMES)
    list(in_file.grade(ASSIGNMENT))
    folder = tmp_path / "course"
    folder.mkdir()
    for part in ("source", "submitted"):
        shutil.copytree(in_file.folder / part, folder / part)
    settings = (in_file.folder / "nbgrader_config.py").read_text()
    settings = settings.replace(str(in_file.folder), str(folder))
    settings += f"c.CourseDirectory.db_url = {server!r}\n"
    (folder / "nbgrader_config.py").write_text(settings)
    in_server = Course(folder)
    assert [s.state.label for s in in_server.grade(ASSIGNMENT)] == ["graded"] * len(NAMES)
    assert not (folder / "gradebook.db").exists()
    one, other = rows_of(in_file), rows_of(in_server)
    for table, rows in one.items():
        assert rows == other[table], table
        assert len(rows) >= len(NAMES)
    assert {s.seconds for s in in_server.grade(ASSIGNMENT)} == {None}
    in_file.export(tmp_path / "file.csv", ASSIGNMENT)
    in_server.export(tmp_path / "server.csv", ASSIGNMENT)
    assert (tmp_path / "file.csv").read_text() == (tmp_path / "server.csv").read_text()

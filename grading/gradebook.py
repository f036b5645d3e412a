"""The gradebook as a database: whether it is this course's, and what to say when it fails."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import nbgrader
from alembic.config import Config
from alembic.script import ScriptDirectory
from nbgrader.api import Base, Gradebook
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger("grading")
T = TypeVar("T")
# Seconds to wait for another program that is writing; each try waits five of them by itself.
PATIENCE = 60.0
BUSY, LOCKED, FULL, NOT_A_DATABASE = 5, 6, 13, 26  # SQLite's primary result codes
SINGLE_COURSE = "default_course"  # nbgrader adds it beside the course's own name


class GradebookTrouble(Exception):
    """The gradebook cannot be used: a sentence in both languages. Results are in the journal."""


def trouble(error: SQLAlchemyError) -> GradebookTrouble:
    """What to say of an error of the database."""
    match _code(error):
        case code if code in (BUSY, LOCKED):
            return GradebookTrouble(
                "成绩册被别的程序锁住了：请等它结束或关掉它，再运行同样的命令；"
                "已得到的结果都在，不会重跑。 / Another program has locked the gradebook: wait for "
                "it or end it, and run the same command again; no result so far is lost."
            )
        case code if code == FULL:
            return GradebookTrouble(
                "磁盘满了，成绩册写不进去：请腾出空间，再运行同样的命令；已得到的结果都在。 / "
                "The disk is full and the gradebook cannot be written: make room and run the same "
                "command again; no result so far is lost."
            )
        case code if code == NOT_A_DATABASE:
            return GradebookTrouble(
                "成绩册的文件不是数据库：请用备份换下它，或把它移走，再重新批改。 / "
                "The gradebook's file is not a database: put a backup in its place, or move it "
                "away, and grade again."
            )
    cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    return GradebookTrouble(
        f"成绩册无法读写（{cause}）：请检查 db_url 与数据库，再运行同样的命令；已得到的结果都在。"
        f" / The gradebook cannot be used ({cause}): check db_url and the database, and run the "
        "same command again; no result so far is lost."
    )


def _code(error: SQLAlchemyError) -> int | None:
    """SQLite's result code, without its details; None for another database."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def patiently(work: Callable[[], T]) -> T:
    """What ``work`` returns, tried again while another program has locked the gradebook.

    Raises GradebookTrouble for whatever the database raises.
    """
    deadline, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            return work()
        except SQLAlchemyError as error:
            if _code(error) not in (BUSY, LOCKED) or time.monotonic() > deadline:
                raise trouble(error) from error
            if not told:
                told = True
                log.warning(
                    "成绩册正被别的程序写着，等它一会儿…… / Another program is writing the "
                    "gradebook: waiting for it…"
                )


def transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """What ``work`` returns in one transaction of its own. Raises GradebookTrouble."""

    def once() -> T:
        with engine.begin() as connection:
            return work(connection)

    return patiently(once)


@contextmanager
def open_gradebook(db_url: str, course: str) -> Iterator[Gradebook]:
    """nbgrader's gradebook, made where there is none.

    Raises GradebookTrouble: it belongs to another course or another version of nbgrader, is no
    database, is locked.
    """
    if patiently(lambda: check(db_url, course)):
        patiently(lambda: create(db_url))
    with patiently(lambda: Gradebook(db_url, course)) as gradebook:
        yield gradebook


def create(db_url: str) -> None:
    """Make nbgrader's tables, of its newest version; it would ask another process which that is."""
    engine = create_engine(db_url)
    try:
        with engine.begin() as connection:
            Base.metadata.create_all(bind=connection)
            connection.execute(
                text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            )
            connection.execute(
                text("INSERT INTO alembic_version VALUES (:version)"), {"version": newest_version()}
            )
    finally:
        engine.dispose()


def check(db_url: str, course: str) -> bool:
    """Whether there is no gradebook yet.

    Raises GradebookTrouble unless there is nothing, or a gradebook of this course.
    """
    try:
        engine = create_engine(db_url)
    except ModuleNotFoundError as error:
        raise GradebookTrouble(
            f"db_url 要用的数据库驱动 {error.name} 没有安装：PostgreSQL 请写 postgresql+psycopg2://…。"
            f" / The driver {error.name} that db_url asks for is not installed: for PostgreSQL "
            "write postgresql+psycopg2://…"
        ) from error
    try:
        with engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            if not tables:
                return True
            if not {"course", "grade", "submitted_assignment"} <= tables:
                raise GradebookTrouble(
                    "成绩册的数据库里是别的东西，不是 nbgrader 的成绩：请检查 db_url。 / "
                    "The gradebook's database holds something else than nbgrader's scores: "
                    "check db_url."
                )
            courses = set(connection.scalars(text("SELECT id FROM course")))
            found = (
                connection.scalar(text("SELECT version_num FROM alembic_version"))
                if "alembic_version" in tables
                else None
            )
    finally:
        engine.dispose()
    _check_version(found)
    _check_course(courses - {SINGLE_COURSE}, course)
    return False


def _check_version(found: str | None) -> None:
    if found != newest_version():
        raise GradebookTrouble(
            "成绩册是另一版 nbgrader 建的：请先备份它，再运行 nbgrader db upgrade。 / "
            "Another version of nbgrader made the gradebook: back it up, then run "
            "nbgrader db upgrade."
        )


def _check_course(others: set[str], course: str) -> None:
    if others and course not in others:
        names = "、".join(sorted(others))
        raise GradebookTrouble(
            f"成绩册属于另一门课（{names}），这里是 {course}：请检查 nbgrader_config.py 的 "
            f"db_url 与 course_id。 / The gradebook belongs to another course ({names}), this one "
            f"is {course}: check db_url and course_id in nbgrader_config.py."
        )


@cache
def newest_version() -> str:
    """The version of the gradebook's tables that this nbgrader makes."""
    config = Config()
    config.set_main_option("script_location", str(Path(nbgrader.__file__).parent / "alembic"))
    return ScriptDirectory.from_config(config).get_current_head()

"""Files: what is handed in beside, or in place of, an ordinary notebook."""

import json
import os
import socket
from contextlib import closing
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from grading.answers import ASSIGNMENT

from .attack import NOTHING, Attack

from classroom import copy_of, where  # isort: skip

FAMILY = ("文件与笔记本", "Files and notebooks")
INVALID = {"state": "invalid_file", "deserves": NOTHING}
CHECKS = "check-vjp", "check-vjp_multi", "check-jac_rows"
WRONG = {"vjp": "def vjp(f, x, v):\n    return f(x), x"}
CRASH = "import os\nos._exit(1)"


def _loaded(change):
    """An edit of the notebook's JSON: ``change`` gets the dictionary and may return another."""

    def edit(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed), encoding="utf-8")

    return edit


def _bytes(make):
    """A file whose bytes ``make(bytes of the notebook)`` gives."""
    return lambda path: path.write_bytes(make(path.read_bytes()))


# Edits of the notebook


def skip_tests(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.metadata.nbgrader.get("grade"):
            cell.metadata["tags"] = ["skip-execution"]


def delete_tests(notebook: NotebookNode) -> None:
    notebook.cells = [c for c in notebook.cells if not c.metadata.nbgrader.get("grade")]


def flip_flags(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        found = cell.metadata.nbgrader
        found.grade, found.solution, found.locked = found.solution, found.grade, not found.locked
        if found.grade:
            found.points = 1000


def raise_points(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if "points" in cell.metadata.nbgrader:
            cell.metadata.nbgrader.points = 1000
    notebook.cells[where(notebook, "check-vjp")].metadata.nbgrader.checksum = "0" * 32


def empty_tests(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.metadata.nbgrader.get("grade"):
            cell.source = "print('passed')"


def duplicate_locked(notebook: NotebookNode) -> None:
    for name in CHECKS:
        index = where(notebook, name)
        notebook.cells.insert(index, copy_of(notebook.cells[index]))


def same_ids(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell["id"] = "same"


def other_schema(notebook: NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells):
        cell.metadata.nbgrader.schema_version = (1, 2, 99, "x", None)[number % 5]


def other_kinds(notebook: NotebookNode) -> None:
    for name in CHECKS:
        cell = notebook.cells[where(notebook, name)]
        cell.cell_type = "markdown"
        del cell["outputs"], cell["execution_count"]


def odd_grade_ids(notebook: NotebookNode) -> None:
    for value in (["vjp"], {"a": 1}, 7, None, True, "x" * 10**5, "../../x", "check-vjp "):
        cell = new_code_cell("1 + 1")
        cell.metadata["nbgrader"] = {"grade_id": value, "grade": True, "points": 100,
                                     "solution": True, "locked": False, "schema_version": 3}
        notebook.cells.append(cell)
    for value in ("text", [], 7, None):
        cell = new_code_cell("1 + 1")
        cell.metadata["nbgrader"] = value
        notebook.cells.append(cell)


def own_check_cells(notebook: NotebookNode) -> None:
    """Check cells of the student's own, before the answers and after."""
    for name in ("vjp", "vjp_multi"):
        notebook.cells.insert(where(notebook, name) + 1, new_code_cell(f"check({name})"))
    notebook.cells.append(new_code_cell("check = print\ncheck(vjp)"))


def late_answers(notebook: NotebookNode) -> None:
    """The answer in front of the imports, and once more at the end."""
    cell = notebook.cells.pop(where(notebook, "vjp"))
    notebook.cells.append(cell)


def thousand_cells(notebook: NotebookNode) -> None:
    notebook.cells.extend(new_code_cell("1 + 1") for _ in range(1000))


def huge_cell(notebook: NotebookNode) -> None:
    notebook.cells[where(notebook, "vjp")].source += "\n# " + "x" * 10**6


def other_kernel(notebook: NotebookNode) -> None:
    notebook.metadata.kernelspec = {"name": "bash", "display_name": "../../x", "language": "sh"}
    notebook.metadata["kernel_name"] = "bash"
    notebook.metadata["language_info"] = {"name": "bash"}


# Edits of the folder


def link_notebook(path: Path) -> None:
    path.unlink()
    path.symlink_to(Path("..", "..", path.parts[-3], ASSIGNMENT, "..", "..", "..", "gradebook.db"))


def link_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(path.parents[3] / "source" / ASSIGNMENT, target_is_directory=True)


def hard_link(path: Path) -> None:
    path.unlink()
    os.link(path.parents[3] / "nbgrader_config.py", path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / path.name).write_text("{}")


def unix_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    with closing(socket.socket(socket.AF_UNIX)) as server:
        os.chdir(path.parent)  # a socket's whole path must be short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100_000_000)


def large(path: Path) -> None:
    content = path.read_bytes().rstrip()
    with path.open("wb") as file:
        file.write(content[:-1] + b', "ballast": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}')


def modules(path: Path) -> None:
    for name in ("numpy", "torch", "tutor", "json", "sitecustomize", "usercustomize", "grading",
                 "IPython", "ipykernel_launcher", "encodings"):
        (path.parent / f"{name}.py").write_text("raise SystemExit('stolen')\n", encoding="utf-8")
    for name in ("torch", "tutor"):
        (path.parent / name).mkdir()
        (path.parent / name / "__init__.py").write_text("check = print\n", encoding="utf-8")
    (path.parent / "nbgrader_config.py").write_text("raise SystemExit('stolen')")
    (path.parent / "kernel.json").write_text('{"argv": ["sh", "-c", "touch stolen"]}')


def linked_files(path: Path) -> None:
    course = path.parents[3]
    (path.parent / "secret.txt").symlink_to(course / ".course-secret")
    (path.parent / "gradebook.db").symlink_to(course / "gradebook.db")
    (path.parent / "others").symlink_to(course / "submitted", target_is_directory=True)
    (path.parent / "root").symlink_to("/", target_is_directory=True)
    (path.parent / "loop").symlink_to("loop")
    os.mkfifo(path.parent / "pipe")


def odd_names(path: Path) -> None:
    for name in ("<img src=x onerror=alert(7)>.html", "a b'c\"d.txt", "作业 (2).ipynb", "-rf",
                 "..hidden", "new\nline", "\u202etxt.exe", "x" * 200, "timestamp.txt.ipynb"):
        (path.parent / name).write_text("<script>alert(1)</script>", encoding="utf-8")


def timestamp(text: str):
    """A forged timestamp.txt."""
    return lambda path: (path.parent / "timestamp.txt").write_text(text, encoding="utf-8")


def unreadable(path: Path) -> None:
    path.chmod(0)
    path.write_bytes(b"\0" * 100)


ATTACKS = [
    Attack("skip-execution", "给检查单元加上 skip-execution 标签",
           "check cells tagged skip-execution", answers=WRONG, edit=skip_tests),
    Attack("tests-emptied", "清空检查单元的内容", "check cells emptied", answers=WRONG,
           edit=empty_tests),
    Attack("tests-deleted", "删除检查单元",
           "check cells deleted", answers=WRONG, edit=delete_tests),
    Attack("flags-flipped", "对调 grade、solution 与 locked", "grade, solution and locked flipped",
           answers=WRONG, edit=flip_flags),
    Attack("points-raised", "把分数改成 1000", "points set to 1000", answers=WRONG,
           edit=raise_points),
    Attack("tests-retyped", "把检查单元变成 Markdown", "check cells turned to Markdown",
           answers=WRONG, edit=other_kinds),
    Attack("locked-cell-twice", "复制了锁定的单元（常见的无心之失）",
           "a locked cell twice, as an honest copy and paste makes it", edit=duplicate_locked),
    Attack("the-same-id", "所有单元的 id 相同", "the same id for every cell", edit=same_ids),
    Attack("wrong-schema-version", "schema_version 不对", "a wrong schema_version",
           edit=other_schema),
    Attack("odd-grade-ids", "grade_id 与 nbgrader 元数据是别的类型",
           "grade_id and nbgrader metadata of other types", edit=odd_grade_ids),
    Attack("checks-of-its-own", "自己添加检查单元", "check cells of its own", edit=own_check_cells),
    Attack("answer-out-of-place", "答题单元移到末尾", "an answer cell moved to the end",
           edit=late_answers),
    Attack("another-kernel", "指定另一个内核", "asks for another kernel", edit=other_kernel),
    Attack("a-thousand-cells", "一千个单元", "a thousand cells", edit=thousand_cells, **INVALID),
    Attack("a-cell-of-a-megabyte", "1 MB 的单元",
           "a cell of a megabyte", edit=huge_cell, **INVALID),
    Attack("resubmitted-without-tests", "先交满分，再交删掉检查单元的错误答案",
           "full marks first, then a wrong answer without check cells", answers=WRONG,
           edit=delete_tests, again=True),
    Attack("resubmitted-with-a-crash", "先交满分，再交使内核退出的",
           "full marks first, then one that ends its kernel", cell=CRASH, rest="stub", again=True,
           state="crashed"),
    Attack("resubmitted-as-rubbish", "先交满分，再交坏文件", "full marks first, then a broken file",
           files=_bytes(lambda content: content[: len(content) // 2]), again=True, **INVALID),
    Attack("resubmitted-as-nothing", "先交满分，再交空文件夹",
           "full marks first, then an empty folder",
           files=Path.unlink, again=True, state="missing_notebook", deserves=NOTHING),
    Attack("linked-notebook", "笔记本是指向成绩册的符号链接", "the notebook links to the gradebook",
           files=link_notebook, **INVALID),
    Attack("linked-folder", "文件夹是指向 source/ 的符号链接", "the folder links to source/",
           files=link_folder, **INVALID),
    Attack("hard-link", "笔记本是指向课程设置的硬链接", "a hard link to the course's settings",
           files=hard_link, **INVALID),
    Attack("linked-files", "旁边放着指向密钥、成绩册与 / 的链接",
           "links to the secret, the gradebook and / beside it", files=linked_files),
    Attack("a-pipe", "笔记本是一个 FIFO", "the notebook is a named pipe", files=pipe, **INVALID),
    Attack("a-device", "笔记本指向 /dev/zero", "the notebook links to /dev/zero", files=device,
           **INVALID),
    Attack("a-folder", "笔记本是一个文件夹", "the notebook is a folder", files=folder, **INVALID),
    Attack("a-socket", "笔记本是一个套接字", "the notebook is a socket", files=unix_socket,
           **INVALID),
    Attack("sparse-100-megabytes", "100 MB 的稀疏文件", "a sparse file of 100 MB", files=sparse,
           **INVALID),
    Attack("large-100-megabytes", "100 MB 的笔记本", "a notebook of 100 MB", files=large,
           **INVALID),
    Attack("no-permission", "没有读权限的乱码", "rubbish without the right to read",
           files=unreadable, **INVALID),
    Attack("deep-json", "嵌套十万层的 JSON", "JSON nested a hundred thousand deep",
           files=_bytes(lambda _: b'{"nbformat": 4, "cells": ' + b"[" * 10**5 + b"]" * 10**5
                        + b"}"), **INVALID),
    Attack("deep-metadata", "元数据嵌套九百层", "metadata nested nine hundred deep",
           files=_bytes(lambda c: c.rstrip()[:-1] + b', "metadata": ' + b'{"a": ' * 900 + b"{}"
                        + b"}" * 901), **INVALID),
    Attack("huge-numbers", "JSON 里上万位的整数", "integers of ten thousand digits in the JSON",
           files=_bytes(lambda c: c.replace(b'"nbformat_minor": 5', b'"nbformat_minor": '
                                            + b"9" * 10_000)), **INVALID),
    Attack("nan-in-json", "JSON 里的 NaN 与 Infinity", "NaN and Infinity in the JSON",
           files=_loaded(lambda n: n["metadata"].update(x=float("nan"), y=float("inf")))),
    Attack("utf-16", "UTF-16 编码", "UTF-16", files=_bytes(lambda c: c.decode().encode("utf-16")),
           **INVALID),
    Attack("cells-of-nothing", "单元是 null、数字与空字典", "cells that are null, numbers or empty",
           files=_loaded(lambda n: n["cells"].extend([None, 7, {}, []])), **INVALID),
    Attack("odd-sources", "source 是列表、数字", "sources that are lists or numbers",
           files=_loaded(lambda n: [c.update(source=7) for c in n["cells"][:2]] and None),
           **INVALID),
    Attack("not-an-object", "JSON 是一个列表", "JSON that is a list", files=_loaded(lambda n: [n]),
           **INVALID),
    Attack("surrogates", "源代码里有半个代理对", "half surrogate pairs in the sources",
           files=_bytes(lambda c: c.replace(b"def vjp(f, x, v):",
                                            b"def vjp(f, x, v):\\n    '\\ud800'", 1))),
    Attack("modules-beside", "旁边放着 torch.py、numpy.py、sitecustomize.py",
           "torch.py, numpy.py and sitecustomize.py beside the notebook", files=modules),
    Attack("odd-file-names", "带引号、脚本、换行与双向控制符的文件名",
           "file names with quotes, scripts, newlines and bidirectional controls", files=odd_names),
    Attack("a-forged-timestamp", "伪造的提交时间", "a forged time of submission",
           files=timestamp("1999-01-01 00:00:00 UTC")),
    Attack("a-bad-timestamp", "不成形的提交时间", "a malformed time of submission",
           files=timestamp("<script>0 0 0 0</script>" * 1000)),
]  # fmt: skip

"""Scripting: whatever might act in the page that a student, or the instructor, opens."""

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

from .attack import Attack
from .forging import TOOLS

from classroom import where  # isort: skip

FAMILY = ("反馈页里的脚本", "Scripts in the feedback")

SCRIPT = "<script>alert('stolen')</script><img src=x onerror=alert(1)>"
SHOW = f'''
from IPython.display import (
    HTML, SVG, Audio, Code, FileLink, IFrame, Image, Javascript, JSON, Latex, Markdown, Math,
    Pretty, Video, display,
)
SCRIPT = {SCRIPT!r}
'''


def _showing(name: str, zh: str, en: str, code: str, **others) -> Attack:
    """An attack that shows something from a cell of its own."""
    return Attack(name, zh, en, SHOW + code, **others)


def _return(name: str, zh: str, en: str, body: str, setup: str = "") -> Attack:
    """An attack by what ``vjp`` returns or raises; ``body``: one statement."""
    return Attack(
        name, zh, en, answers={"vjp": f"{SHOW}{setup}\ndef vjp(f, x, v):\n    {body}\n"}
    )


def _metadata(notebook: NotebookNode) -> None:
    notebook.metadata["title"] = SCRIPT
    notebook.metadata["autograd_course"] = {"state": SCRIPT, "notes": [{"state": "graded"}],
                                            "exercises": {"vjp": {"points": 4}}}
    notebook.metadata.kernelspec = {"name": SCRIPT, "display_name": SCRIPT, "language": SCRIPT}
    notebook.metadata["language_info"] = {"name": SCRIPT, "pygments_lexer": SCRIPT,
                                          "codemirror_mode": SCRIPT}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {
        "state": {SCRIPT: {"model_name": SCRIPT}}, "version_major": 2, "version_minor": 0}}
    for cell in notebook.cells:
        cell.metadata["tags"] = [SCRIPT]
        cell.metadata["magics_language"] = SCRIPT
        cell.metadata["slideshow"] = {"slide_type": SCRIPT}
        if cell.cell_type == "code":
            cell["execution_count"] = None
            cell.outputs = [new_output("display_data", data={"text/html": SCRIPT})]


def _markdown(notebook: NotebookNode) -> None:
    for text in (SCRIPT, f"[x](javascript:alert(1)) <a href='javascript:alert(2)'>{SCRIPT}</a>",
                 "![x](https://example.com/track.png) ![y](../../../gradebook.db)",
                 "<iframe src='https://example.com'></iframe><object data='x'></object>",
                 "<style>body{display:none}</style><form action='https://example.com'></form>",
                 "$\\href{javascript:alert(1)}{x}$ $$\\unicode{60}script\\unicode{62}$$",
                 "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>"):
        notebook.cells.insert(2, new_markdown_cell(text))
    title = notebook.cells[where(notebook, "title")]
    title.source = SCRIPT + title.source


def _attachments(notebook: NotebookNode) -> None:
    cell = new_markdown_cell("![x](attachment:x.svg)",
                             attachments={"x.svg": {"image/svg+xml": SCRIPT},
                                          SCRIPT: {"text/html": SCRIPT}})
    notebook.cells.insert(2, cell)
    notebook.cells[where(notebook, "title")]["attachments"] = {SCRIPT: {"image/png": SCRIPT}}


ATTACKS = [
    _showing("script-in-html", "HTML 输出里的脚本",
             "a script in HTML output", "display(HTML(SCRIPT))"),
    _showing("script-in-markdown-output", "Markdown 输出里的脚本", "a script in Markdown output",
             "display(Markdown(SCRIPT + ' [x](javascript:alert(1))'))"),
    _showing("javascript", "Javascript 输出", "Javascript output",
             "display(Javascript('alert(1)'), {'application/javascript': 'alert(2)'}, raw=False)\n"
             "display({'application/javascript': 'alert(2)', 'text/plain': SCRIPT}, raw=True)"),
    _showing("svg", "SVG 里的脚本与处理程序", "scripts and handlers in SVG",
             "display({'image/svg+xml': '<svg onload=\"alert(1)\"><script>alert(2)</script></svg>',"
             " 'text/plain': '<svg onload=alert(3)>'}, raw=True)"),
    _showing("latex", "LaTeX 里的 \\href 与 \\unicode", "\\href and \\unicode in LaTeX", r'''
display(Latex("$\\href{javascript:alert(1)}{x}$"), Math("\\href{javascript:alert(1)}{x}"))
print("$\\href{javascript:alert(2)}{x}$ $$\\unicode{60}script\\unicode{62}$$")
display({"text/plain": "\\(\\href{javascript:alert(3)}{x}\\)"}, raw=True)
'''),
    _showing("frames", "IFrame、Video、Audio、FileLink", "IFrame, Video, Audio and FileLink", '''
display(IFrame("https://example.com", 100, 100), Video("https://example.com/x.mp4"),
        Audio(url="https://example.com/x.mp3"), FileLink("/etc/passwd"),
        Code(SCRIPT), Pretty(SCRIPT), JSON({SCRIPT: SCRIPT}))
'''),
    _showing("outer-images", "引用外部图片以追踪读者",
             "images from elsewhere, to track readers", '''
display(Image(url="https://example.com/track.png"), HTML("<img src=https://example.com/t.png>"))
display({"image/png": "https://example.com/track.png"}, raw=True)
'''),
    _showing("broken-pictures", "图片数据里的脚本", "scripts in the data of pictures", r'''
for kind in ("image/png", "image/jpeg", "image/gif", "image/webp"):
    for text in ('"><script>alert(1)</script>', 'iVBORw0KGgo="><img src=x onerror=alert(1)>',
                 "iVBORw0KGgo=\n\"onerror=alert(1) x=\""):
        display({kind: text, "text/plain": text}, metadata={kind: {"width": '"><script>'}},
                raw=True)
'''),
    _showing("mime-types", "不寻常的 MIME 类型", "unusual MIME types", '''
for kind in ("text/html", "text/markdown", "text/latex", "application/pdf", "text/x-python",
             "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json",
             "application/vnd.mermaid", "text/vnd.mermaid", "application/json",
             "application/vnd.nteract.view-as-html", SCRIPT):
    display({kind: SCRIPT}, raw=True)
'''),
    _showing("ansi", "ANSI 转义序列里的脚本", "scripts within ANSI escapes", r'''
print("\x1b[31m" + SCRIPT + "\x1b[0m\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07")
print("\x1b[38;5;" + SCRIPT + "m \x1b[38;2;1;2;3;<script>m \x1b[2J\x1b[H\x1b]0;title\x07")
import sys
print(SCRIPT, file=sys.stderr)
'''),
    _showing("bidi", "双向控制符与不可见字符",
             "bidirectional controls and invisible characters", r'''
print("\u202e\u2066points: 02/02\u2069\u202c \u200b\u200d\ufeff \u0000 \u2028\u2029")
points = "\u202e 02/02 \u202c"
'''),
    _showing("code-as-markup", "代码与注释里的脚本", "scripts in code and comments", '''
# <script>alert(1)</script> <!-- --> ]]> </pre></div></body></html>
"""</pre></div><script>alert(2)</script>$\\\\href{javascript:alert(1)}{x}$"""
名字 = "</script><script>alert(3)</script>"
'''),
    _return("script-in-an-exception", "异常信息里的脚本", "a script in an exception's message",
            "raise ValueError(SCRIPT)"),
    _return("script-in-an-exceptions-name", "异常类名里的脚本", "a script as an exception's name",
            "raise type(SCRIPT, (ValueError,), {})(SCRIPT)"),
    Attack("script-in-a-traceback", "检查单元自己出错时的回溯",
           "the traceback of a check that fails",
           SHOW + '''
class Named(type):
    pass
def broken(answer):
    raise type(SCRIPT, (BaseException,), {"_render_traceback_": lambda self: [SCRIPT]})(SCRIPT)
check = broken
''', rest="stub"),
    _return("script-in-values", "返回值里的脚本", "scripts in what is returned",
            "return {SCRIPT: [SCRIPT], '$\\\\href{javascript:alert(1)}{x}$': SCRIPT}"),
    _return("script-as-a-type", "类型名里的脚本", "a script as the name of a type",
            "return type(SCRIPT, (), {})(), type('</td></tr></table>' + SCRIPT, (), {})()"),
    Attack("script-in-facets", "证据里的检查项与内容带脚本",
           "scripts in the facets and observations of evidence",
           SHOW + TOOLS + '''
def check(answer):
    name = answer.__name__
    evidence = {facet: {"raises": SCRIPT, "message": SCRIPT} for facet in KEYS[name]["key"]}
    claim = json.dumps({"exercise": name, "evidence": evidence})
    display({MIME: claim, "text/plain": SCRIPT}, raw=True)
''', rest="stub"),
    Attack("script-in-metadata", "元数据、标签与已有的输出里的脚本",
           "scripts in metadata, tags and outputs handed in", edit=_metadata),
    Attack("script-in-markdown", "Markdown 单元里的脚本、链接与图片",
           "scripts, links and images in Markdown cells", edit=_markdown),
    Attack("script-in-attachments", "附件里的脚本", "scripts in attachments", edit=_attachments),
    Attack("<img src=x onerror=alert(8)>", "学生名里的脚本", "a script as a student's name"),
    Attack("'; drop table grade; --", "学生名里的 SQL", "SQL as a student's name"),
    Attack("名字 with spaces & {{ 7*7 }} $x$", "学生名里的模板与空格",
           "a template and spaces in a student's name"),
]  # fmt: skip

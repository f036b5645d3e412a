"""The shell: IPython, ipykernel and the messages between a kernel and its client, turned."""

from .attack import Attack

FAMILY = ("IPython 与内核消息", "IPython and the kernel's messages")

SEND = '''
from IPython.display import display

KERNEL = get_ipython().kernel

def send(kind, content, parent=None, **others):
    """A message on iopub, signed with the session's key."""
    parent = KERNEL.get_parent("shell") if parent is None else parent
    KERNEL.session.send(KERNEL.iopub_socket, kind, content, parent=parent, **others)
'''


def _messages(name: str, zh: str, en: str, body: str, **others) -> Attack:
    """An attack whose ``vjp`` sends messages, the first time that it is asked."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    once = "    if asked:\n        return x, x\n    asked.append(1)"
    code = f"{SEND}\nasked = []\n\ndef vjp(f, x, v):\n{once}\n{lines}\n    return x, x\n"
    return Attack(name, zh, en, answers={"vjp": code}, **others)


ATTACKS = [
    Attack(
        "early-result", "出错之前先用 sys.displayhook 打印结果",
        "a result by sys.displayhook before the error",
        answers={"vjp": "import sys\ndef vjp(f, x, v):\n    sys.displayhook(2.0)\n    return None"},
    ),
    Attack(
        "ast-transformers", "用 ast_transformers 删除断言与表达式",
        "assertions and calls removed by ast_transformers",
        '''
import ast

class Remove(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)

get_ipython().ast_transformers.append(Remove())
''', rest="stub",
    ),
    Attack(
        "input-transformers", "用 input_transformers 改写检查单元",
        "check cells rewritten by input_transformers",
        '''
def rewrite(lines):
    text = "".join(lines)
    return ["print('all right')\\n"] if "check(" in text or "assert" in text else lines

get_ipython().input_transformers_post.append(rewrite)
''', rest="stub",
    ),
    Attack(
        "run-cell-replaced", "把 run_cell 换成总说成功的函数",
        "run_cell replaced by a function that reports success",
        '''
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

shell = get_ipython()

def succeed(raw_cell, *args, **kwargs):
    result = ExecutionResult(ExecutionInfo(raw_cell, False, False, False, "x"))
    result.execution_count = 1
    return result

async def succeed_async(raw_cell, *args, **kwargs):
    return succeed(raw_cell)

shell.run_cell = succeed
shell.run_cell_async = succeed_async
shell.should_run_async = lambda *_, **__: False
''', rest="stub",
    ),
    Attack(
        "do-execute-replaced", "替换内核的 do_execute", "the kernel's do_execute replaced",
        '''
async def succeed(*args, **kwargs):
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
get_ipython().kernel.do_execute = succeed
''', rest="stub",
    ),
    Attack(
        "handlers-replaced", "替换 shell_handlers，吞掉每个请求",
        "shell_handlers replaced: every request is swallowed",
        '''
async def swallow(*args):
    pass
get_ipython().kernel.shell_handlers["execute_request"] = swallow
''', rest="stub", state="timeout",
    ),
    Attack(
        "display-replaced", "替换 display_pub、displayhook 与 excepthook",
        "display_pub, displayhook and excepthook replaced",
        '''
import sys
shell = get_ipython()
shell.display_pub.publish = lambda *_, **__: None
shell.displayhook.write_format_data = lambda *_: None
sys.excepthook = sys.displayhook = lambda *_: None
shell.showtraceback = shell._showtraceback = lambda *_, **__: None
shell.set_custom_exc((BaseException,), lambda *_, **__: None)
shell.display_formatter.format = lambda *_, **__: ({"text/plain": "4/4"}, {})
''', rest="stub", state="graded",
    ),
    Attack(
        "events-and-namespaces", "事件钩子与替换 user_ns", "event hooks and a namespace of its own",
        '''
class Names(dict):
    def __getitem__(self, name):
        return (lambda *_: None) if name == "check" else dict.__getitem__(self, name)

shell = get_ipython()
shell.events.register("pre_run_cell", lambda *_: shell.user_ns.update(check=print))
shell.events.register("post_run_cell", lambda result: setattr(result, "error_in_exec", None))
shell.user_ns = Names(shell.user_ns)
shell.set_next_input("check = print", replace=True)
''', rest="stub", state="graded",
    ),
    Attack(
        "module-in-the-way", "在 sys.modules 与 sys.path 里放自己的 tutor、torch",
        "a tutor and a torch of its own in sys.modules and sys.path",
        '''
import os, sys, types
fake = types.ModuleType("tutor")
fake.check = print
sys.modules["tutor"] = fake
os.makedirs("tutor", exist_ok=True)
open("tutor/__init__.py", "w").write("check = print")
sys.path.insert(0, os.getcwd())
import importlib
importlib.invalidate_caches()
check = print
''', rest="stub",
    ),
    Attack(
        "updates-of-other-outputs", "用 update_display 与 clear_output 改动别的输出",
        "update_display and clear_output reach into other outputs",
        last='''
from IPython.display import HTML, clear_output, display, update_display
for number in range(20):
    for name in ("x", "check-vjp", "tutor", str(number)):
        update_display(HTML("<b>4/4</b>"), display_id=name)
display(HTML("<b>20/20</b>"), display_id="x")
update_display({"application/" + "vnd.tutor.evidence": "{}"}, raw=True, display_id="x")
clear_output(wait=False)
clear_output(wait=True)
''',
    ),
    _messages("hostile-execution-count", "把执行序号换成脚本",
              "a script in place of the execution count", '''
text = "<script>alert('count')</script><img src=x onerror=alert(1)>"
send("execute_input", {"code": text, "execution_count": text})
send("execute_result", {"data": {"text/plain": "x"}, "metadata": {}, "execution_count": text})
send("status", {"execution_state": "busy", "execution_count": text})
send("stream", {"name": "stdout", "text": "x", "execution_count": [text]})
'''),
    _messages("hostile-structure", "字段缺失、类型错误的消息",
              "messages with missing fields and wrong types", '''
for content in ({}, {"data": None}, {"data": []}, {"data": {"text/plain": {"a": 1}}},
                {"name": 7, "text": ["x"]}, {"ename": [], "evalue": {}, "traceback": 7},
                {"execution_state": ["idle"]}, {"wait": "x"}, {"transient": 7},
                {"transient": {"display_id": ["x"]}, "data": {"text/plain": "x"}},
                {"comm_id": 7, "data": 7}, {"execution_count": {"a": 1}, "code": 1},
                {"data": {"image/png": 7, "text/plain": None, "text/html": "<b>"}}):
    for kind in ("stream", "display_data", "execute_result", "error", "status", "clear_output",
                 "update_display_data", "execute_input", "comm_open", "comm_msg", "comm_close",
                 "shutdown_reply", "7"):
        send(kind, content)
for content in (None, [], 7, "text"):
    send("stream", content)
'''),
    _messages("hostile-headers", "消息头里的怪东西",
              "strange things in the headers of messages", '''
parent = KERNEL.get_parent("shell")
for strange in (7, None, [], "x", {"header": 7}, {"header": {"msg_id": ["x"]}}, {"msg_id": {}}):
    try:
        send("stream", {"name": "stdout", "text": "x"}, parent={"header": strange})
    except Exception as error:
        print(type(error).__name__)
    try:
        send("stream", {"name": "stdout", "text": "x"}, header={"msg_id": strange,
             "msg_type": strange, "date": strange}, parent=parent)
    except Exception as error:
        print(type(error).__name__)
'''),
    _messages("raw-frames", "签名错误与不成形的原始帧", "raw frames, unsigned and malformed", '''
for frames in ([b"garbage"], [b""], [b"<IDS|MSG>"], [b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"],
               [b"x", b"<IDS|MSG>", b"0" * 64, b"{", b"[", b"7", b"\\xff\\xfe"],
               [b"x"] * 200):
    KERNEL.iopub_socket.send_multipart(frames)
'''),
    _messages("frames-of-gigabytes", "零拷贝地发送许多 500 MB 的帧",
              "many frames of 500 MB, sent without a copy", '''
held = bytes(500 * 2**20)
for _ in range(16):
    KERNEL.iopub_socket.send_multipart([b"stream", held], copy=False)
''', state="over_limit"),
    _messages("another-key", "换掉会话密钥", "the session's key changed", '''
KERNEL.session.key = b"another"
''', state="timeout"),
    _messages("replayed-messages", "重放同一条签名消息",
              "the same signed message again and again", '''
parent = KERNEL.get_parent("shell")
message = KERNEL.session.msg("stream", {"name": "stdout", "text": "x"}, parent=parent)
frames = [b"stream"] + KERNEL.session.serialize(message, [])
for _ in range(50):
    KERNEL.iopub_socket.send_multipart(frames)
'''),
    _messages("forged-replies", "伪造 execute_reply 与 kernel_info_reply",
              "execute_reply and kernel_info_reply forged", '''
parent = KERNEL.get_parent("shell")
ident = getattr(KERNEL, "_parent_ident", {}).get("shell")
for status in ("ok", "error", "aborted", "<script>", None):
    for kind in ("execute_reply", "kernel_info_reply"):
        try:
            stream = getattr(KERNEL, "shell_stream", None) or KERNEL.shell_socket
            content = {"status": status, "execution_count": "<script>", "ename": 7,
                       "evalue": [], "traceback": {}, "payload": [{"source": "set_next_input",
                       "text": "check = print", "replace": True}]}
            KERNEL.session.send(stream, kind, content, parent=parent, ident=ident)
        except Exception as error:
            print(type(error).__name__)
''', state="graded"),
    _messages("restarting", "宣布内核死亡与重启",
              "announces that the kernel is dead or restarting", '''
for state in ("dead", "restarting", "starting", "terminating", "unknown", "<script>"):
    send("status", {"execution_state": state})
send("shutdown_reply", {"restart": True, "status": "ok"})
'''),
    _messages("messages-for-other-cells", "把输出寄给别的单元的请求",
              "outputs sent as those of other cells' requests", '''
import copy
parent = copy.deepcopy(KERNEL.get_parent("shell"))
root, _, number = parent["header"]["msg_id"].rpartition("_")
for later in range(60):
    parent["header"]["msg_id"] = f"{root}_{later}"
    send("stream", {"name": "stdout", "text": "4/4 points"}, parent=parent)
    send("status", {"execution_state": "idle"}, parent=parent)
'''),
    _messages("requests-on-stdin", "索要输入的消息", "requests for input", '''
for _ in range(20):
    KERNEL.session.send(KERNEL.stdin_socket, "input_request",
                        {"prompt": "password?", "password": True},
                        parent=KERNEL.get_parent("shell"))
send("input_request", {"prompt": "password?", "password": True})
'''),
    _messages("buffers", "带着二进制缓冲区与编码欺骗的消息",
              "messages with binary buffers and tricks of encoding", '''
send("display_data", {"data": {"text/plain": "x"}, "metadata": {}}, buffers=[bytes(10**6)] * 5)
KERNEL.session.pack = lambda content: b"\\xff\\xfe{}"
send("stream", {"name": "stdout", "text": "x"})
''', state="timeout"),
]  # fmt: skip

"""Showing an expected error: its type and the part of its message that is the same everywhere."""

import re
from contextlib import contextmanager

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{6,}")
_INTERNAL = re.compile(r"\s*\(Triggered internally at [^)]*\)")
_FOLDERS = re.compile(r"(?:(?<![\w.])/|\b[A-Za-z]:\\)(?:[^\s/\\'\"]+[/\\])+")


def stable_message(error):
    """Returns the first line of an exception's message without addresses and folders.

    error: BaseException. Returns str, empty if the exception carries no message.
    """
    # str() of a SyntaxError names the file, that of a KeyError is the repr of the key.
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    line = message.strip().partition("\n")[0].strip()
    for pattern in (_INTERNAL, _ADDRESS, _FOLDERS):
        line = pattern.sub("", line)
    return line


@contextmanager
def expect_error(*types):
    """Runs the block, which must raise; prints the exception's type and stable message.

    types: the exception classes that are expected; Exception if none is given. Another exception
    goes through untouched. Raises AssertionError if the block raises nothing, and TypeError if
    one of types is no exception class.
    """
    types = types or (Exception,)
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                f"expect_error() 的参数必须是异常类，而不是 {kind!r}。"
                f" / expect_error() takes exception classes, not {kind!r}."
            )
    try:
        yield
    except types as error:
        name, message = type(error).__name__, stable_message(error)
        print(f"{name}: {message}" if message else name)
        return
    names = ", ".join(kind.__name__ for kind in types)
    raise AssertionError(
        f"这里应当报错（{names}），却什么错也没有报。"
        f" / {names} was expected here, but nothing was raised."
    )

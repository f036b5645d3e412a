import pytest
import torch

from tutor.errors import expect_error, stable_message


def test_prints_type_and_message_and_swallows(capsys):
    x = torch.ones(2, requires_grad=True)
    with expect_error(RuntimeError):
        torch.autograd.grad(x * x, x)
    expected = "RuntimeError: grad can be implicitly created only for scalar outputs\n"
    assert capsys.readouterr().out == expected


def test_any_exception_is_expected_by_default(capsys):
    with expect_error():
        raise KeyError("w")
    assert capsys.readouterr().out == "KeyError: 'w'\n"


def test_an_exception_without_message_prints_its_type(capsys):
    with expect_error(ZeroDivisionError, StopIteration):
        raise StopIteration
    assert capsys.readouterr().out == "StopIteration\n"


def test_another_exception_goes_through(capsys):
    with pytest.raises(TypeError, match="other"), expect_error(RuntimeError, ValueError):
        raise TypeError("other")
    assert capsys.readouterr().out == ""


def test_an_interrupt_is_not_swallowed_by_default():
    with pytest.raises(KeyboardInterrupt), expect_error():
        raise KeyboardInterrupt


def test_no_error_is_an_error_in_both_languages():
    words = r"应当报错（RuntimeError, ValueError）.* / .*nothing"
    with pytest.raises(AssertionError, match=words), expect_error(RuntimeError, ValueError):
        pass


@pytest.mark.parametrize("wrong", ["message", 3, int])
def test_only_exception_classes_are_taken(wrong):
    with pytest.raises(TypeError, match="exception classes"), expect_error(wrong):
        pass


@pytest.mark.parametrize(
    ("message", "stable"),
    [
        ("first line\nsecond line", "first line"),
        ("", ""),
        ("object <Foo object at 0x7f5d1051db50> is bad", "object <Foo object> is bad"),
        ("pointer 0x7f5d1051db50", "pointer "),
        ("no file '/home/someone/course/data.csv'", "no file 'data.csv'"),
        (r"no file 'C:\Users\someone\data.csv'", "no file 'data.csv'"),
        ("warned (Triggered internally at /a/b.cpp:822.)", "warned"),
        ("1/2 of (2, 3)/(3, 2)", "1/2 of (2, 3)/(3, 2)"),
    ],
)
def test_the_stable_part(message, stable):
    assert stable_message(ValueError(message)) == stable


def test_a_syntax_error_does_not_name_its_file():
    with pytest.raises(SyntaxError) as caught:
        compile("return y: int", "<ipython-input-3>", "exec")
    assert stable_message(caught.value) == "invalid syntax"

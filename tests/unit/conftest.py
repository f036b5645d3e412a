import pytest

from grading import misconceptions
from tutor import exercise as ex

from . import toy


@pytest.fixture
def toy_course(tmp_path, monkeypatch):
    """The toy course in a folder of its own, its exercise and its wrong answers registered."""
    monkeypatch.setitem(ex._registry, "scaled", toy.TOY)

    @misconceptions.misconception("scaled", zh="加成了乘", en="adds instead")
    def adds(x, factor):
        return x + factor

    @misconceptions.misconception("scaled", zh="忘了系数", en="forgets the factor")
    def forgets(x, factor):
        return x.clone()

    @misconceptions.misconception("scaled", zh="乘了两次", en="scales twice")
    def twice(x, factor):
        return factor * factor * x

    @misconceptions.misconception("scaled", zh="符号反了", en="flips the sign")
    def negated(x, factor):
        return -factor * x

    @misconceptions.misconception("scaled", zh="不会处理标量", en="fails for a scalar")
    def rows_only(x, factor):
        return factor * x[:]

    @misconceptions.alternative("scaled")
    def by_broadcasting(x, factor):
        return x * factor

    @misconceptions.alternative("scaled")
    def by_division(x, factor):
        return x / (1 / factor)

    yield toy.make(tmp_path)
    misconceptions._wrong.pop("scaled")
    misconceptions._right.pop("scaled")

import inspect
from typing import Any, Iterator, List

import pytest

from tmfun_pyg.utils.signatures import takes_arguments_of


def numbers(end: int, step: int = 1) -> Iterator[int]:
    """Counts."""
    yield from range(0, end, step)


@takes_arguments_of(numbers)
def all_numbers(*args: Any, **kwargs: Any) -> List[int]:
    """Counts to the end."""
    return list(numbers(*args, **kwargs))


def test_arguments() -> None:
    assert all_numbers(5, step=2) == [0, 2, 4]
    assert all_numbers.__doc__ == "Counts to the end."
    expected = "(end: int, step: int = 1) -> List[int]"
    found = str(inspect.signature(all_numbers)).replace("typing.", "")
    assert found == expected
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        all_numbers(5, size=2)  # type: ignore[call-arg]

from math import inf
from numbers import Integral
from typing import Any, Sequence

import numpy as np

NAMED = 5
MOST = 2**63 - 1  # The largest index of torch.


def name_first(names: Sequence[Any]) -> str:
    """Returns the first five of some names."""
    more = ", ..." if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def name_items(items: np.ndarray) -> str:
    """Returns the number of items and the first five, for errors."""
    return f"{len(items)} item(s): {name_first(items.tolist())}"


def check_at_least(
    name: str, value: float, least: float, most: float = inf
) -> None:
    r"""Checks an argument.

    Raises:
        ValueError: If the value is less than :obj:`least`, more than
            :obj:`most`, or infinite.
    """
    if not least <= value <= most or value == inf:
        bound = f"at most {most}" if value > most else f"at least {least}"
        bound = "finite" if value == inf == most else bound
        raise ValueError(f"'{name}' must be {bound} (got {value})")


def check_count(name: str, value: Any, least: int = 1) -> None:
    r"""Checks a count.

    Raises:
        ValueError: If the value is not a whole number, less than
            :obj:`least`, or too large for 64 bits.
    """
    if not is_whole(value):
        raise ValueError(f"'{name}' must be a whole number (got {value!r})")
    check_at_least(name, int(value), least, MOST)


def is_whole(value: Any) -> bool:
    r"""Whether a value is a whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_flag(name: str, value: Any) -> None:
    r"""Checks a flag.

    Raises:
        ValueError: If the value is neither true nor false.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"'{name}' must be True or False (got {value!r})")


def check_positive(name: str, value: float) -> None:
    r"""Checks an argument.

    Raises:
        ValueError: If the value is not positive, or infinite.
    """
    if not 0 < value < inf:
        bound = "finite" if value == inf else "positive"
        raise ValueError(f"'{name}' must be {bound} (got {value})")

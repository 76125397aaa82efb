from math import inf

import numpy as np


def name_items(items: np.ndarray) -> str:
    """Returns the number of items and the first five, for errors."""
    shown = ", ".join(str(item) for item in items[:5])
    more = ", ..." if len(items) > 5 else ""
    return f"{len(items)} item(s): {shown}{more}"


def check_at_least(
    name: str, value: float, least: float, most: float = inf
) -> None:
    r"""Checks an argument.

    Raises:
        ValueError: If the value is less than :obj:`least`, or more than
            :obj:`most`.
    """
    if not least <= value <= most:
        bound = f"at most {most}" if value > most else f"at least {least}"
        raise ValueError(f"'{name}' must be {bound} (got {value})")


def check_positive(name: str, value: float) -> None:
    r"""Checks an argument.

    Raises:
        ValueError: If the value is not positive.
    """
    if not value > 0:
        raise ValueError(f"'{name}' must be positive (got {value})")

import numpy as np


def name_items(items: np.ndarray) -> str:
    """Returns the number of items and the first five, for errors."""
    shown = ", ".join(str(item) for item in items[:5])
    more = ", ..." if len(items) > 5 else ""
    return f"{len(items)} item(s): {shown}{more}"


def check_at_least(name: str, value: float, least: float) -> None:
    r"""Checks an argument.

    Raises:
        ValueError: If the value is less than :obj:`least`.
    """
    if not value >= least:  # NaN is not, either.
        raise ValueError(f"'{name}' must be at least {least} (got {value})")


def check_positive(name: str, value: float) -> None:
    r"""Checks an argument.

    Raises:
        ValueError: If the value is not positive.
    """
    if not value > 0:
        raise ValueError(f"'{name}' must be positive (got {value})")

import warnings
from typing import Dict, NamedTuple

import numpy as np

COLUMNS = ("userID", "itemID", "x_label")
SPLITS = ("training", "validation", "test")
HEADER = "a header line with the tab-separated columns " + ", ".join(COLUMNS)
# 18 digits always fit into an int64.
MAX_DIGITS = 18


class Interactions(NamedTuple):
    """Interactions as three arrays of one length.

    Args:
        user (np.ndarray): User indices (int64).
        item (np.ndarray): Item indices (int64).
        label (np.ndarray): 0 for training, 1 for validation, 2 for test.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray


def read_inter(path: str) -> Interactions:
    """Reads the rows of an ``.inter`` file, in file order.

    Row ``n`` of the result stands in line ``n + 2`` of the file.

    Args:
        path (str): The file.

    Raises:
        ValueError: If the file is not what is expected, with the line and
            the column.
    """
    with open(path, "rb") as f:
        raw = f.read()
    # Files written on Windows, or by a spreadsheet.
    raw = raw.replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf")
    raw = raw.rstrip(b"\n")
    if not raw:
        raise ValueError(f"'{path}' is empty: expected {HEADER}")

    header = raw.partition(b"\n")[0].decode(errors="replace").split("\t")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"'{path}', line 1: no column {missing} (columns are separated "
            f"by tabs): found {header}, expected {HEADER}"
        )

    buffer = np.frombuffer(raw + b"\n", dtype=np.uint8)
    line_end = np.flatnonzero(buffer == ord("\n"))
    if len(line_end) == 1:
        raise ValueError(
            f"'{path}' holds a header but no rows: expected at least one "
            f"interaction a split"
        )
    # A field ends at a tab or at the end of its line.
    end = np.flatnonzero((buffer == ord("\t")) | (buffer == ord("\n")))
    fields = np.diff(np.searchsorted(end, line_end, side="right"))
    ragged = fields != len(header)
    if ragged.any():
        row = int(ragged.argmax())
        raise ValueError(
            f"'{path}', line {row + 2}: found {fields[row]} tab-separated "
            f"fields, expected {len(header)} as in the header"
        )
    end = end.reshape(-1, len(header))[1:]
    start = np.empty_like(end)
    start[:, 0] = line_end[:-1] + 1
    start[:, 1:] = end[:, :-1] + 1

    columns: Dict[str, np.ndarray] = {}
    for name in COLUMNS:
        expected = (
            "0 (training), 1 (validation) or 2 (test)"
            if name == "x_label"
            else "an integer of 0 or more"
        )
        index = header.index(name)
        value, bad = _parse_int(buffer, start[:, index], end[:, index])
        if name == "x_label":
            bad |= value > 2
        if bad.any():
            row = int(bad.argmax())
            field = raw[start[row, index] : end[row, index]]
            raise ValueError(
                f"'{path}', line {row + 2}, column '{name}': found "
                f"'{field.decode(errors='replace')}', expected {expected}"
            )
        columns[name] = value
    return Interactions(*(columns[name] for name in COLUMNS))


def _parse_int(
    buffer: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
) -> "tuple[np.ndarray, np.ndarray]":
    """Reads the bytes of each field as a number, digit by digit.

    Returns the numbers, and which fields are no plain non-negative integer.
    """
    length = end - start
    bad = (length == 0) | (length > MAX_DIGITS)
    value = np.zeros(len(start), dtype=np.int64)
    for position in range(min(int(length.max()), MAX_DIGITS)):
        active = position < length
        # Fields that have ended look at their own end: a separator.
        digit = buffer[np.minimum(start + position, end)] - ord("0")
        bad |= active & (digit > 9)  # uint8: what is below '0' wraps around.
        value = np.where(active, value * 10 + digit, value)
    return value, bad


def drop_duplicates(
    inter: Interactions,
) -> "tuple[Interactions, int]":
    """Keeps each (user, item) pair once, in its earliest split.

    Returns the interactions sorted by user, then item, and the number of
    those dropped.
    """
    order = np.lexsort((inter.label, inter.item, inter.user))
    user, item, label = (column[order] for column in inter)
    first = np.ones(len(user), dtype=bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(item) != 0)
    kept = Interactions(user[first], item[first], label[first])
    return kept, int(len(first) - first.sum())


def check_splits(label: np.ndarray, source: str) -> None:
    """Raises a :class:`ValueError` if a split holds no interaction."""
    for value, (name, count) in enumerate(
        zip(SPLITS, np.bincount(label, minlength=3), strict=True)
    ):
        if count == 0:
            raise ValueError(
                f"{source}: the {name} split is empty: found 0 interactions "
                f"with label {value}, expected at least one"
            )


def warn_duplicates(num_duplicates: int, source: str) -> None:
    """Tells that interactions were dropped, if any were."""
    if num_duplicates > 0:
        warnings.warn(
            f"{source}: found {num_duplicates} duplicate interaction(s), "
            f"expected each pair of a user and an item once; the earliest of "
            f"each is kept",
            stacklevel=4,
        )

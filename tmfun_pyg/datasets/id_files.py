"""Reads files of raw ids, one per line."""

from typing import List

import numpy as np

from tmfun_pyg.datasets._files import read_text
from tmfun_pyg.utils.ids import NO_PARTS, is_no_id

# The first line of a file that has a header instead of being a plain list.
HEADERS = ("user_id", "item_id", "userID", "itemID")


def read_ids(path: str) -> List[str]:
    """Returns the lines of a file of raw ids.

    Args:
        path (str): The file.

    Raises:
        ValueError: If the file is missing, empty or not UTF-8 text, or if a
            line is not an id.
    """
    text = read_text(path)
    if text == "":
        raise ValueError(f"'{path}' must have an id a line (got an empty file)")
    lines = text.removesuffix("\n").split("\n")
    bad = is_no_id(lines)
    if bad.any():
        line = int(bad.argmax())
        got = repr(lines[line]) if lines[line] else "an empty line"
        raise ValueError(
            f"'{path}', line {line + 1} must be an id without {NO_PARTS} and "
            f"spaces around it (got {got})"
        )
    if lines[0] in HEADERS:
        raise ValueError(
            f"'{path}', line 1 must be an id (got '{lines[0]}'); leave out the "
            f"header"
        )
    return lines


def read_ids_of_rows(
    path: str, table_path: str, table: np.ndarray
) -> List[str]:
    """Returns the ids of the rows of a table.

    Args:
        path (str): The file of ids.
        table_path (str): The file of the table, named in errors.
        table (np.ndarray): The table.

    Raises:
        ValueError: Also if there are more or fewer ids than rows.
    """
    ids = read_ids(path)
    if table.ndim > 0 and len(ids) != len(table):
        raise ValueError(
            f"'{path}' must have {len(table)} item ids, one for each row of "
            f"'{table_path}' (got {len(ids)})"
        )
    return ids

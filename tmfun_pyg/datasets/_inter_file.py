import re
import warnings
from typing import List, NoReturn

import numpy as np

from tmfun_pyg.datasets._interactions import Interactions

# The columns, each with a pattern of its fields and what they are in errors.
COLUMNS = {
    "userID": ("[0-9]{1,18}", "a non-negative integer"),
    "itemID": ("[0-9]{1,18}", "a non-negative integer"),
    "x_label": ("[012]", "0 (training), 1 (validation) or 2 (test)"),
}


def read_inter(path: str) -> Interactions:
    """Returns the rows of an ``.inter`` file of MMRec in their order, so
    that row ``n`` is in line ``n + 2`` of the file.

    Args:
        path (str): The file.

    Raises:
        ValueError: If the file has another format; the message names the
            line and the column.
    """
    # Byte order marks and line ends may be those of Windows.
    with open(path, encoding="utf-8-sig", errors="replace") as f:
        header = f.readline().rstrip("\n").split("\t")
    if not set(COLUMNS).issubset(header):
        raise ValueError(
            f"'{path}', line 1 must have the tab-separated columns "
            f"{list(COLUMNS)} (got {header})"
        )
    try:
        with warnings.catch_warnings():
            # For a file without rows, and in old numpy for floats.
            warnings.simplefilter("error")
            rows = np.loadtxt(
                path,
                np.int64,
                comments=None,
                delimiter="\t",
                skiprows=1,
                usecols=[header.index(name) for name in COLUMNS],
                ndmin=2,
                encoding="latin1",  # Reads any other column.
            )
    except (ValueError, Warning):
        _raise_first_error(path, header)
    with open(path, "rb") as f:
        raw = f.read().rstrip(b"\r\n")
    num_tabs = (len(rows) + 1) * (len(header) - 1)
    if (
        (raw.count(b"\n"), raw.count(b"\t")) != (len(rows), num_tabs)
        or rows.min() < 0
        or rows[:, 2].max() > 2
    ):
        _raise_first_error(path, header)
    return Interactions(*rows.T.copy())


def _raise_first_error(path: str, header: List[str]) -> NoReturn:
    with open(path, encoding="utf-8-sig", errors="replace") as f:
        for line, text in enumerate(f, start=1):
            fields = text.rstrip("\n").split("\t")
            if len(fields) != len(header):
                raise ValueError(
                    f"'{path}', line {line} must have {len(header)} "
                    f"tab-separated fields as in the header (got "
                    f"{len(fields)})"
                )
            if line == 1:
                continue
            for column, (pattern, expected) in COLUMNS.items():
                field = fields[header.index(column)]
                if re.fullmatch(pattern, field) is None:
                    raise ValueError(
                        f"'{path}', line {line}, column '{column}' must be "
                        f"{expected} (got '{field}')"
                    )
    raise ValueError(f"'{path}' must have rows (got a header alone)")

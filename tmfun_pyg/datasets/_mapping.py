import csv
import io
import os.path as osp
import re
from typing import Dict

import numpy as np

from tmfun_pyg.datasets._ids import to_ids
from tmfun_pyg.datasets._texts import read_text

INDEX = re.compile("0|[1-9][0-9]{0,17}")


def read_mapping(path: str, column: str) -> np.ndarray:
    """Returns the raw ids by index: int64 if all of them are plain integers
    of up to 18 digits, else str.

    Args:
        path (str): A tab-separated file with a header and two columns: raw
            ids and their indices.
        column (str): The name of the second column.

    Raises:
        ValueError: If the file has another format; the message names the
            line.
    """
    text = read_text(path, newline="").rstrip("\r\n")
    if "\0" in text:  # numpy cuts it off at the end of a string.
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"'{path}', line {line} has a null character")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t", strict=True
    )
    index: Dict[str, int] = {}  # By raw id.
    lines: Dict[int, int] = {}  # By index.
    try:
        header = next(reader, [])
        if len(header) != 2 or header[1] != column:
            raise ValueError(
                f"'{path}', line 1 must have two tab-separated columns, raw "
                f"ids and '{column}' (got {header})"
            )
        for fields in reader:
            source = f"'{path}', line {reader.line_num}"
            if len(fields) != 2:
                raise ValueError(
                    f"{source} must have 2 tab-separated fields (got "
                    f"{len(fields)})"
                )
            raw, number = fields
            if raw == "" or raw in index:
                raise ValueError(
                    f"{source}, column '{header[0]}' must be an id that is "
                    f"not empty or repeated (got '{raw}')"
                )
            if not INDEX.fullmatch(number) or int(number) in lines:
                raise ValueError(
                    f"{source}, column '{column}' must be an index from 0 on "
                    f"that is not repeated (got '{number}')"
                )
            index[raw] = int(number)
            lines[int(number)] = reader.line_num
    except csv.Error as err:
        raise ValueError(
            f"'{path}', line {reader.line_num} must have 2 tab-separated "
            f"fields (got '{err}')"
        ) from err
    if not index:
        raise ValueError(f"'{path}' must have rows (got a header alone)")
    if max(lines) >= len(lines):
        raise ValueError(
            f"'{path}', line {lines[max(lines)]}, column '{column}' must be "
            f"below {len(lines)}, the number of rows (got {max(lines)})"
        )
    return to_ids(sorted(index, key=index.__getitem__))


def write_mapping(path: str, column: str, ids: np.ndarray) -> None:
    """Writes a file for :func:`read_mapping`.

    Raises:
        ValueError: If an id is empty.
    """
    names = ids.astype(np.str_).tolist()
    if "" in names:
        raise ValueError(
            f"'{osp.basename(path)}' must have a raw id for every {column} "
            f"(got an empty string)"
        )
    with open(path, "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(
            f,
            delimiter="\t",
            lineterminator="\n",
            # Carriage returns are not quoted otherwise.
            quoting=csv.QUOTE_ALL
            if "\r" in "".join(names)
            else csv.QUOTE_MINIMAL,
        )
        writer.writerow(["raw_id", column])
        writer.writerows(zip(names, range(len(names)), strict=True))

import csv
import io
import re
from itertools import chain, islice
from typing import Any, Sequence

import numpy as np

from tmfun_pyg.utils.ids import INTEGER

INDEX = r"0|[1-9][0-9]{0,17}"


def read_mapping(path: str, column: str) -> np.ndarray:
    """Reads which raw id each index stands for.

    Args:
        path (str): A tab-separated file with a header and two columns: raw
            ids, and their indices.
        column (str): The name of the second column.

    Returns:
        The raw ids by index: int64 if all are written as plain integers of
        up to 18 digits, otherwise str.

    Raises:
        ValueError: If the file is not what is expected, with the line.
    """
    text = _read_text(path)
    expected = (
        f"a header line with two tab-separated columns, ids and {column}"
    )
    # Two passes that keep no row: a million of lists would take seconds.
    reader = _rows(text)
    try:
        width = np.fromiter(map(len, reader), np.int64)
    except csv.Error as err:
        raise ValueError(
            f"'{path}', line {reader.line_num}: found no tab-separated "
            f"fields ({err})"
        ) from err
    width = np.trim_zeros(width, "b")  # Empty lines at the end.
    fields = list(chain.from_iterable(_rows(text)))
    if not fields:
        raise ValueError(f"'{path}' is empty: expected {expected}")
    if width[0] != 2 or fields[1] != column:
        raise ValueError(
            f"'{path}', line 1: found the columns {fields[: width[0]]}, "
            f"expected {expected}"
        )
    if len(width) == 1:
        raise ValueError(
            f"'{path}' holds a header but no rows: expected a row for every "
            f"{column}"
        )
    if (width != 2).any():
        row = int((width != 2).argmax())
        raise ValueError(
            f"{_line(path, row)}: found {width[row]} tab-separated fields, "
            f"expected 2"
        )
    raw, index = fields[2::2], fields[3::2]
    ids = to_ids(raw)
    place = _to_index(path, column, index)

    if "" in raw:
        raise ValueError(
            f"{_line(path, 1 + raw.index(''))}: found an empty id, expected "
            f"an id in every row"
        )
    row = _first_repetition(ids)
    if row >= 0:
        raise ValueError(
            f"{_line(path, 1 + row)}: found the id '{raw[row]}' once more, "
            f"expected each id once"
        )
    by_index = np.empty_like(ids)
    by_index[place] = ids
    return by_index


def write_mapping(path: str, column: str, ids: np.ndarray) -> None:
    """Writes what :func:`read_mapping` reads.

    Raises:
        ValueError: If an id is empty.
    """
    names = ids.astype(np.str_).tolist()
    if "" in names:
        raise ValueError(
            f"found an empty string among the ids of column '{column}' of "
            f"'{path}', expected ids that can be told from missing ones"
        )
    # The writer quotes line feeds and tabs by itself, but no such breaks.
    has_break = any("\r" in name for name in names)
    with open(path, "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(
            f,
            delimiter="\t",
            lineterminator="\n",
            quoting=csv.QUOTE_ALL if has_break else csv.QUOTE_MINIMAL,
        )
        writer.writerow(["raw_id", column])
        writer.writerows(zip(names, range(len(names)), strict=True))


def to_ids(names: Sequence[str]) -> np.ndarray:
    """Reads ids from text: int64 if all are plain integers, else str."""
    if all(map(re.compile(INTEGER).fullmatch, names)):
        return np.array(names).astype(np.int64)
    return np.array(names, dtype=np.str_)


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            text = f.read()
    except UnicodeDecodeError as err:
        raise ValueError(
            f"'{path}': found what is no text in UTF-8 ({err})"
        ) from err
    null = text.find("\0")
    if null >= 0:  # numpy cuts these off at the end of a string.
        line = text.count("\n", 0, null) + 1
        raise ValueError(
            f"'{path}', line {line}: found a null character, expected text"
        )
    return text


def _rows(text: str) -> Any:
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter="\t", strict=True)


def _line(path: str, row: int) -> str:
    """Names the line in which a row ends: ids in quotes may hold breaks."""
    reader = _rows(_read_text(path))
    next(islice(reader, row, None))
    return f"'{path}', line {reader.line_num}"


def _to_index(path: str, column: str, fields: Sequence[str]) -> np.ndarray:
    expected = f"each of the numbers from 0 to {len(fields) - 1} once"
    match = re.compile(INDEX).fullmatch
    if not all(map(match, fields)):
        row = next(i for i, field in enumerate(fields) if not match(field))
        raise ValueError(
            f"{_line(path, 1 + row)}, column '{column}': found "
            f"'{fields[row]}', expected {expected}"
        )
    index = np.array(fields).astype(np.int64)
    row = int(index.argmax())
    if index[row] < len(index):
        row = _first_repetition(index)
    if row >= 0:
        again = "" if index[row] >= len(index) else " once more"
        raise ValueError(
            f"{_line(path, 1 + row)}, column '{column}': found {index[row]}"
            f"{again}, expected {expected}"
        )
    return index


def _first_repetition(values: np.ndarray) -> int:
    """The first place of a value that stood before, or -1."""
    order = values.argsort(kind="stable")
    again = order[1:][values[order[1:]] == values[order[:-1]]]
    return int(again.min()) if len(again) > 0 else -1

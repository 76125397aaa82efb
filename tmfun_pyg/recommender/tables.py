"""Tables that are written piece by piece, completely or not at all."""

import csv
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator

import numpy as np

from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write

Piece = Dict[str, np.ndarray]  # Some rows, by column.


def write_table(path: Any, pieces: Iterable[Piece]) -> None:
    r"""Writes a :obj:`.csv` or :obj:`.parquet` file.

    Args:
        path (str): The file.
        pieces (Iterable[Dict[str, np.ndarray]]): Some rows at a time, by
            column, at least one piece.

    Raises:
        ImportError: If the file is Parquet, and pyarrow is not installed.
        ValueError: If the file has another type.
        OSError: If it can't be written.
    """
    write_as(path, TABLES, pieces)


def write_as(
    path: Any, writers: Dict[str, Callable], pieces: Iterable[Any]
) -> None:
    r"""Writes a file with the writer for its type.

    Args:
        path (str): The file.
        writers (Dict[str, Callable]): The writers, by suffix.
        pieces (Iterable): The content, piece by piece.
    """
    path = Path(path)
    if path.suffix not in writers:
        raise ValueError(
            f"'{path}' must be of type {', '.join(writers)} (got "
            f"'{path.suffix}')"
        )
    with atomic_write(path) as part:
        writers[path.suffix](part, iter(pieces))


def values_of(array: np.ndarray) -> list:
    r"""Returns the values of an array as written to text files. Numbers in
    single precision have the fewest digits that read back as the same number,
    instead of those of the equal number in double precision. NaN is
    :obj:`None`, an empty cell.

    Args:
        array (np.ndarray): The array.
    """
    if array.dtype == np.float32:
        array = array.astype("S16").astype(np.float64)
    if array.dtype.kind == "f" and (missing := np.isnan(array)).any():
        array = array.astype(object)
        array[missing] = None
    return array.tolist()


def _write_csv(path: Path, pieces: Iterator[Piece]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, piece in enumerate(pieces):
            if number == 0:
                writer.writerow(piece)
            columns = map(values_of, piece.values())
            writer.writerows(zip(*columns, strict=True))


def _write_parquet(path: Path, pieces: Iterator[Piece]) -> None:
    pyarrow = import_extra("pyarrow", "data")
    parquet = import_extra("pyarrow.parquet", "data")

    def made(piece: Piece, schema: Any = None) -> Any:
        columns = {  # NaN is null.
            name: pyarrow.array(values, from_pandas=True)
            for name, values in piece.items()
        }
        return pyarrow.table(columns, schema)

    table = made(next(pieces))
    with parquet.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        for piece in pieces:
            writer.write_table(made(piece, table.schema))


TABLES = {".csv": _write_csv, ".parquet": _write_parquet}

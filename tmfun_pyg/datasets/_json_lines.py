"""Reads files with one JSON object per line in constant memory."""

import gzip
import io
import json
import os.path as osp
import zlib
from itertools import islice
from typing import IO, Any, Dict, Iterator, List, Sequence

import pandas as pd
from tqdm import tqdm

from tmfun_pyg.datasets._files import check_file

CHUNK = 2**14  # Lines that are read at once.


def read_json_lines(
    path: str, needed: Sequence[str], others: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """Reads fields of a file in chunks, with a progress bar.

    Args:
        path (str): The file, optionally gzipped.
        needed (List[str]): The fields that every line must have.
        others (List[str], optional): Further fields.

    Raises:
        ValueError: If the file is missing or has the wrong format; the message
            names the line.
    """
    check_file(path)
    bar = tqdm(
        total=osp.getsize(path),
        desc=osp.basename(path),
        unit="B",
        unit_scale=True,
        disable=None,
    )
    line = 1
    try:
        with bar, open(path, "rb") as raw, _as_text(path, raw) as text:
            while lines := list(islice(text, CHUNK)):
                objects = _parse(path, lines, line)
                frame = pd.DataFrame(
                    objects, columns=[*needed, *others], dtype=object
                )
                missing = frame[list(needed)].isna().any(axis=1)
                if missing.any():
                    row = int(missing.argmax())
                    raise ValueError(
                        f"'{path}', line {line + row} must have the fields "
                        f"{', '.join(needed)} (got {lines[row].strip():.80})"
                    )
                _check_text(path, lines, frame, line)
                yield frame
                line += len(lines)
                bar.update(raw.tell() - bar.n)
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(
            f"'{path}' must be a complete gzip file ({err})"
        ) from err
    except UnicodeDecodeError as err:
        raise ValueError(f"'{path}' must be text in UTF-8 ({err})") from err


def _check_text(
    path: str, lines: List[str], frame: pd.DataFrame, first: int
) -> None:
    """Raises an error for lone surrogates, which can only come from an escape
    in UTF-8 and which none of our files can hold.
    """
    escaped = pd.Series(lines, dtype=object).str.contains(r"\\ud", case=False)
    for row in escaped.to_numpy(bool).nonzero()[0].tolist():
        values = frame.iloc[row].tolist()
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError as err:
            half = err.object[err.start]
            raise ValueError(
                f"'{path}', line {first + row} must have no lone surrogates "
                f"(got {half!a} in {lines[row].strip():.80})"
            ) from err


def _as_text(path: str, raw: IO[bytes]) -> IO[str]:
    is_packed = path.lower().endswith(".gz")
    stream: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
    return io.TextIOWrapper(stream, encoding="utf-8")


def _parse(path: str, lines: List[str], first: int) -> List[Dict[str, Any]]:
    objects: List[Any] = []
    try:
        objects.extend(map(json.loads, lines))
        reason = "another value"
    except (ValueError, RecursionError) as err:
        reason = str(err)
    kinds = list(map(type, objects))
    if kinds != [dict] * len(lines):
        row = next(
            (n for n, k in enumerate(kinds) if k is not dict), len(kinds)
        )
        raise ValueError(
            f"'{path}', line {first + row} must be a JSON object (got "
            f"{lines[row].strip():.80}: {reason})"
        )
    return objects

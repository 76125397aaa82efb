"""Logs that are read, sorted and written some rows at a time."""

import gzip
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pandas as pd
import pytest

from tmfun_pyg.datasets import (
    MultimodalRecDataset,
    _checked_text,
    _files,
    _mmrec,
    _times,
    prepare,
)
from tmfun_pyg.datasets._content import first_of_pairs
from tmfun_pyg.datasets._id_chunks import IdChunks
from tmfun_pyg.datasets._order import stable_order

ROW = 250  # Where something is wrong.


@pytest.fixture
def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "CHUNK", 37)
    monkeypatch.setattr(_mmrec, "CHUNK", 71)
    monkeypatch.setattr(_times, "BLOCK", 29)
    monkeypatch.setattr(_checked_text, "BLOCK", 997)


def make_log() -> pd.DataFrame:
    """300 interactions, some of them repeated."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(20, size=300), rng.integers(30, size=300)
    return pd.DataFrame(
        {
            "user_id": [f'\u00fc "{i}", x' for i in user],
            "item_id": item,
            "time": 1_600_000_000 + rng.integers(10**7, size=300),
        }
    )


def write(path: Path, log: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        log.to_parquet(path)
    else:
        log.to_csv(path, index=False)
    return path


def read_all(folder: Path) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore:.* duplicate interaction")
@pytest.mark.parametrize("kind", ["numbers", "dates"])
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet"])
@pytest.mark.parametrize("split", ["random", "leave_last_out"])
def test_chunks_of_any_size(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    name: str,
    kind: str,
    split: Any,
) -> None:
    log = make_log()
    if kind == "dates":
        log["time"] = pd.to_datetime(log["time"], unit="s").astype(str)
    path = write(tmp_path / name, log)
    options: Dict[str, Any] = {"time_col": "time", "split": split}
    prepare(path, tmp_path / "whole", "own", **options)
    expected = MultimodalRecDataset.from_interactions(log, {}, **options)
    request.getfixturevalue("in_chunks")
    prepare(path, tmp_path / "parts", "own", **options)
    parts, whole = (read_all(tmp_path / f / "own") for f in ("parts", "whole"))
    assert parts == whole
    read = MultimodalRecDataset(tmp_path / "parts", "own")
    assert read.fingerprint == expected.fingerprint
    times = read.interaction_times, expected.interaction_times
    assert times[0].equal(times[1])


def broken(log: pd.DataFrame, line: str) -> bytes:
    lines = log.to_csv(index=False).splitlines()
    lines[ROW + 1] = line
    return "\n".join(lines).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,1,2,3", r"log\.csv' cannot be read: .* line 252, saw 4"),
        ("a\0,1,2", r"log\.csv', line 252 has a null character"),
        ('"a,1,2', r"log\.csv', line 252 must close the quotation mark"),
        ('"a\nb",1,2', r"log\.csv', line 252 must close the quotation mark"),
        ("\udcff,1,2", r"log\.csv' must be text in 'utf-8'"),
        (",1,2", r"'user_id' must have an id in every row \(row 250, "),
        ("a,1,", r"'time' must have a time in every row \(row 250, "),
        ("a,1,soon", r"'time' must .* \(got 'soon' in row 250, "),
        ("a,1,2020-01-01", r"'time' must .* '2020-01-01' in row 250, "),
        ("a,1.0,2", r"'item_id' must .* \(got '1\.0' in row 250, "),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_broken_rows(
    tmp_path: Path, in_chunks: None, line: str, message: str, packed: bool
) -> None:
    content, name = broken(make_log(), line), "log.csv"
    if packed:
        content, name = gzip.compress(content), "log.csv.gz"
        message = message.replace(r"\.csv'", r"\.csv\.gz'")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / name, tmp_path, "own", time_col="time")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_lines_of_any_kind(tmp_path: Path, in_chunks: None) -> None:
    """Errors name the same line, however lines end."""
    content = broken(make_log(), '"a,1,2')
    for end in (b"\r\n", b"\r"):
        (tmp_path / "log.csv").write_bytes(content.replace(b"\n", end))
        with pytest.raises(ValueError, match=r"log\.csv', line 252 must close"):
            prepare(tmp_path / "log.csv", tmp_path, "own")


def test_parquet_with_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "log.parquet", make_log()[:0])
    with pytest.raises(ValueError, match=r"log\.parquet' must have rows"):
        prepare(path, tmp_path, "own")


def test_ids_of_chunks() -> None:
    rng = np.random.default_rng(0)
    ids = pd.Series([f"x{i}" for i in rng.integers(50, size=200)], dtype=object)
    ids[[3, 150]] = None
    chunks = IdChunks()
    for start in range(0, len(ids), 9):
        chunks.add(ids[start : start + 9])
    column = chunks.join(as_text=True)
    number, distinct = pd.factorize(ids)
    assert column.cat.codes.tolist() == number.tolist()
    assert column.cat.categories.tolist() == distinct.tolist()


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64", "uint64", "O"])
def test_order(dtype: str) -> None:
    values = np.random.default_rng(0).integers(9, size=100).astype(dtype)
    values.flags.writeable = False
    expected = np.argsort(values, kind="stable")
    assert stable_order(values).tolist() == expected.tolist()


def test_first_of_pairs() -> None:
    rng = np.random.default_rng(0)
    user, item, time, label = rng.integers(4, size=(4, 100), dtype=np.int32)
    order = np.lexsort((time, label, item, user))
    pair = (user * 4 + item)[order]
    expected = order[np.diff(pair, prepend=-1) != 0]
    found = first_of_pairs(user, item, time, label)
    assert found.tolist() == expected.tolist()

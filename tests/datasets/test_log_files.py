"""Logs as people keep them."""

import gzip
from pathlib import Path
from typing import Any, Dict

import pytest

from tmfun_pyg.datasets._log import Log, read_log
from tmfun_pyg.datasets._log_files import TextFormat

ROWS = [("\u00fcna", 7, 30), ("bo", 7, 10), ("bo", 5, 20)]


def read(path: Path, **options: Any) -> Log:
    layout = TextFormat(**options)
    return read_log(path, "user", "item", "t", None, text_format=layout)


def write(
    path: Path, sep: str, header: bool = True, encoding: str = "utf-8"
) -> Path:
    rows = [("user", "item", "t")] * header + ROWS
    text = "".join(sep.join(map(str, row)) + "\n" for row in rows)
    content = text.encode(encoding)
    path.write_bytes(
        gzip.compress(content) if path.suffix == ".gz" else content
    )
    return path


@pytest.mark.parametrize(
    ("name", "sep", "options"),
    [
        ("log.csv", ",", {}),
        ("log.TSV", "\t", {}),
        ("log.csv.gz", ",", {}),
        ("log.tsv.gz", "\t", {}),
        ("log.inter.gz", "\t", {}),
        ("log.csv", ";", {"sep": ";"}),
        ("log.txt", "|", {"sep": "|"}),
        ("log.dat", "::", {"sep": "::"}),
        ("log.dat", "||", {"sep": "||"}),
    ],
)
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("encoding", [None, "latin-1", "utf-16"])
def test_layouts(
    tmp_path: Path,
    name: str,
    sep: str,
    options: Dict[str, Any],
    header: bool,
    encoding: Any,
) -> None:
    path = write(tmp_path / name, sep, header, encoding or "utf-8")
    columns = None if header else ["user", "item", "t"]
    log = read(path, columns=columns, encoding=encoding, **options)
    assert log.user_ids.tolist() == ["bo", "\u00fcna"]
    assert log.item_ids.tolist() == [5, 7]
    assert log.rows["user"].tolist() == [1, 0, 0]
    assert log.rows["item"].tolist() == [1, 1, 0]
    assert log.rows["time"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("log.dat", {}, r"log\.dat' must be a \.csv.*'\.dat'\).*sep=\.\.\."),
        ("log.csv", {"sep": ""}, r"'sep' must be .*\(got ''\)"),
        ("log.csv", {"sep": "\n"}, r"'sep' must be .*\(got '\\n'\)"),
        (
            "log.csv",
            {"columns": ["user", "item"]},
            r"log.csv' must have 2 columns, user, item \(got 3 fields",
        ),
        (
            "log.csv",
            {"columns": ["user", "item", "t", "x"]},
            r"log.csv' must have 4 columns, user, .* \(got 3 fields",
        ),
        ("log.csv", {"columns": ["x", "y", "y"]}, "distinct names"),
        ("log.csv", {"encoding": "latin-99"}, "'encoding' must .*'latin-99'"),
        ("log.csv", {"encoding": "hex"}, "'encoding' must .*'hex'"),
        (
            "log.csv",
            {"encoding": "ascii"},
            r"log\.csv' must be text in 'ascii' .*0xc3",
        ),
        ("log.parquet", {"sep": ","}, "'sep' must be given for text files"),
    ],
)
def test_bad_layouts(
    tmp_path: Path, name: str, options: Dict[str, Any], message: str
) -> None:
    path = write(tmp_path / name, ",")
    with pytest.raises(ValueError, match=message):
        read(path, **options)


def test_other_encodings(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", ",", encoding="latin-1")
    with pytest.raises(ValueError, match=r"log\.csv' must .*'utf-8' .*0xfc"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_encodings_that_are_not_given(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "log.csv", ",", encoding=encoding)
    with pytest.raises(ValueError, match=r"log\.csv'.* with encoding="):
        read(path)


@pytest.mark.parametrize(
    "header", ["user,item,t", "userID,itemID,t", "User:token,x,y", "a,b,t"]
)
def test_columns_of_a_log_with_a_header(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "log.csv", ",", header=False)
    path.write_text(f"{header}\n" + path.read_text(encoding="utf-8"))
    names = ["user", "item", "t"]
    if "userID" in header:
        names = ["user_id", "itemID", "x"]
    with pytest.raises(ValueError, match=r"log.csv' must have no header"):
        read(path, columns=names)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv.gz", ",")
    whole = path.read_bytes()
    for content in (whole[:20], b"user,item,t\n", whole[:15] + b"xx"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"\.gz' must be a complete gzip"):
            read(path)


@pytest.mark.parametrize("name", ["log", "log.csv", "log.parquet"])
def test_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"log.*' must be a file .*folder"):
        read(tmp_path / name)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", ",", header=False)
    with pytest.raises(
        ValueError,
        match=r"user_col='user', item_col='item', time_col='t' \(got the "
        r"columns \['\u00fcna', '7', '30'\]\); prepare takes columns=",
    ):
        read(path)

"""Titles, pictures and groups of items, from a file to the data set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tmfun_pyg.datasets import MultimodalRecDataset, prepare
from tmfun_pyg.datasets.item_table import read_table

IDS = [f"0{item}" for item in range(9)]
TITLES = ["NA", "null", ' "x"', "a,b\tc", "日本", "007", "", "1.0"]


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: Any) -> None:
    """A log of nine items, in whose folder all is written."""
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = {"user_id": np.arange(90) % 10, "item_id": np.repeat(IDS, 10)}
    pd.DataFrame(rows).to_csv("log.csv", index=False)


def make(**options: Any) -> Any:
    return prepare("log.csv", ".", "own", items="items.csv", **options)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "parquet"])
def test_read_back(suffix: str) -> None:
    frame = pd.DataFrame(
        {
            "group": [None, *"aabbccc"],
            "price": range(8),
            "item_id": IDS[:0:-1],
            "title": TITLES,
        }
    )
    path = f"items.{suffix}"
    if suffix == "parquet":
        frame["title"] = frame["title"].replace("a,b\tc", "a,b\r\nc")
        frame.to_parquet(path)
    else:
        sep = "\t" if suffix == "tsv" else ","
        frame.to_csv(path, index=False, sep=sep)
    report = prepare("log.csv", ".", "own", items=path)
    assert report.item_table == {"title": 7, "group": 7}
    assert "items: title of 7, group of 7\n" in str(report)
    assert report.ignored == [
        f"'{path}': the column(s) price; title, image_url, group are read"
    ]
    assert json.loads(Path("own/report.json").read_text())["item_table"]
    for _ in range(2):  # The second time as it was processed.
        dataset = MultimodalRecDataset(".", "own")
        assert dataset.item_ids.tolist() == IDS
        table = dataset.item_table
        titles = frame["title"].tolist()
        assert table["title"].tolist() == ["", *titles[::-1]]
        assert table["group"].tolist() == ["", *"cccbbaa", ""]
        assert list(table) == ["title", "group"]
    longer = dataset.replace(dataset[0], np.array([*IDS, "new"]))
    assert longer.item_table["title"].tolist() == ["", *titles[::-1], ""]
    assert dataset.fingerprint == MultimodalRecDataset(".", "own").fingerprint


def test_without() -> None:
    report = prepare("log.csv", ".", "own")
    assert report.item_table == {}
    assert not Path("own/item_table.csv").exists()
    table = MultimodalRecDataset(".", "own").item_table
    assert table.shape == (9, 0)
    Path("items.csv").write_text("item_id,title\n01,x\n")
    before = MultimodalRecDataset(".", "own").fingerprint
    make(overwrite=True)
    dataset = MultimodalRecDataset(".", "own")
    assert dataset.item_table["title"].tolist() == ["", "x", *[""] * 7]
    # A model goes with both: it knows nothing of titles.
    assert dataset.fingerprint == before


def test_ids_match_as_text() -> None:
    """Unknown ones are counted, the first five are named."""
    ids = ["05", "5", *"abcdef"]
    pd.DataFrame({"item_id": ids, "title": ids}).to_csv("items.csv")
    report = make()
    assert report.ignored[1:] == [
        "'items.csv': the rows of 7 item(s): 5, a, b, c, d, ..., not in the "
        "data set"
    ]
    table = MultimodalRecDataset(".", "own").item_table
    assert table["title"].tolist() == [*[""] * 5, "05", "", "", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,name\n01,x\n", r"and some of title, .*\(got 1 rows and the"),
        ("sku,title\n01,x\n", r"the column item_col='item_id' and some of"),
        ("item_id,title\n", r"must have rows, .*\(got 0 rows"),
        ("item_id,title\n01,x\n01,y\n", r"each id once \(got repeated 1 item"),
        ("item_id,title\n1,x\n", r"such as 00 \(got ids such as 1, none of"),
        ("item_id,title\n,x\n", "must have an id in every row"),
        ("item_id,title\n01,x,y\n", "must have 2 fields in its first row"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    Path("items.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "'items.csv'" in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("own").exists()


def test_other_files() -> None:
    Path("items.txt").write_text("item_id,title\n01,x\n")
    with pytest.raises(ValueError, match=r"\.csv, \.tsv or .*\(got '\.txt'\)"):
        prepare("log.csv", ".", "own", items="items.txt")
    frame = pd.DataFrame({"item_id": ["01"], "title": ["a\0b"]})
    frame.to_parquet("items.parquet")
    with pytest.raises(ValueError, match=r"no null characters .* item 01\)"):
        prepare("log.csv", ".", "own", items="items.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("itemID,name\n0,a\n1,b\n", r"line 1 must .*\(got itemID, name\)"),
        ("itemID,title\n1,a\n0,b\n", "a full row for each of 2 items"),
        ("itemID,title\n0,a\n", r"each of 2 items.*\(got 1 rows\)"),
        ("itemID,title\n0,a\n1\n", None),
    ],
)
def test_damaged_table(text: str, message: Any) -> None:
    Path("item_table.csv").write_text(text)
    if message is None:
        table = read_table("item_table.csv", 2)
        assert table["title"].tolist() == ["a", ""]
        return
    with pytest.raises(ValueError, match=message):
        read_table("item_table.csv", 2)


def build(items: Any) -> MultimodalRecDataset:
    x = {"x": (IDS, np.ones((9, 2)))}
    return MultimodalRecDataset.from_interactions("log.csv", x, items=items)


def test_of_interactions(tmp_path: Path) -> None:
    """A data set in memory has what prepare stores."""
    frame = pd.DataFrame(
        {
            "title": ["x", None, "NA"],
            "group": [3, 3, 4],
            "price": 1.5,
            "item_id": ["08", "01", "10"],
        }
    )
    frame.to_csv("items.csv", index=False)
    make()
    expected = MultimodalRecDataset(".", "own").item_table
    for items, name in (
        (frame, "items"),
        ("items.csv", "items.csv"),
        (tmp_path / "items.csv", f"{tmp_path}/items.csv"),
    ):
        with pytest.warns(UserWarning, match="^Not read: ") as told:
            dataset = build(items)
        assert [str(warning.message) for warning in told] == [
            f"Not read: '{name}': the column(s) price; title, image_url, group "
            f"are read",
            f"Not read: '{name}': the rows of 1 item(s): 10, not in the data "
            f"set",
        ]
        assert dataset.item_table.to_dict() == expected.to_dict()
    assert expected["title"].tolist() == ["", "", *[""] * 6, "x"]
    assert expected["group"].tolist() == ["", "3", *[""] * 6, "3"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([1], r"'items' must be a pandas\.DataFrame or .* \(got a list\)"),
        ({"item_id": ["01"]}, "'items' must have rows, the column item_col="),
        (
            {"item_id": ["01", "01"], "title": "x"},
            "'items', column 'item_id' must have each id once",
        ),
        ({"item_id": ["1"], "title": "x"}, "'items' must have ids of the data"),
    ],
)
def test_mistakes_of_interactions(items: Any, message: str) -> None:
    if isinstance(items, dict):
        items = pd.DataFrame(items)
    with pytest.raises(ValueError, match=message):
        build(items)

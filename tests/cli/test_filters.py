"""Lists of some items, with titles, similar items, and scores of pairs."""

import csv
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, List

import numpy as np
import pandas as pd
import pytest

from tmfun_pyg.cli.main import main
from tmfun_pyg.datasets import pair_files
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.training import DatasetOptions

NUM_ITEMS = 40
pytestmark = pytest.mark.usefixtures("recommender")


@pytest.fixture
def folder(folder: Path) -> Path:
    """The same with titles and groups."""
    table = pd.DataFrame({"itemID": range(NUM_ITEMS)})
    table["title"] = [f"Song ♪{item}" for item in range(NUM_ITEMS)]
    table.loc[3, "title"] = ""
    table["group"] = [f"g{item % 5}" for item in range(NUM_ITEMS)]
    table.to_csv("toy/item_table.csv", index=False)
    return folder


def read_rows() -> List[dict]:
    with Path("out.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(command: str, *args: str) -> int:
    return main([command, "--ckpt", "c.ckpt", "--out", "out.csv", *args])


def write_ids(name: str, ids: Any) -> None:
    Path(name).write_text("".join(f"{raw}\n" for raw in ids))


def title(raw: Any) -> str:
    return "" if int(raw) == 3 else f"Song ♪{raw}"


def test_ids_given_twice(recommender: Recommender, capsys: Any) -> None:
    """Count once, where they come first."""
    write_ids("ids.txt", [7, 3, 7, 12, 3, 7])
    assert run("recommend", "--users", "ids.txt", "--k", "2") == 0
    assert capsys.readouterr().out == "out.csv: 3 users\n"
    users = [row["user_id"] for row in read_rows()]
    assert users == ["7", "7", "3", "3", "12", "12"]
    assert run("similar", "--items", "ids.txt", "--k", "2") == 0
    assert capsys.readouterr().out == "out.csv: 3 items\n"
    rows = read_rows()
    assert [row["item_id"] for row in rows] == users
    found, _ = recommender.similar_items([7, 3, 12], 2)
    assert [int(row["similar_id"]) for row in rows] == found.ravel().tolist()


def test_recommend(recommender: Recommender, capsys: Any) -> None:
    write_ids("stock.txt", range(3, 30))
    write_ids("not.txt", [7, 9])
    args = ["--items", "stock.txt", "--exclude-items", "not.txt"]
    args += ["--max-per-group", "2", "--with-titles", "--k", "8"]
    assert run("recommend", *args) == 0
    found = recommender.recommend(
        k=8, items=range(3, 30), exclude_items=[7, 9], max_per_group=2
    )
    rows = read_rows()
    expected = [raw for listed in found.lists() for raw in listed]
    assert [int(row["item_id"]) for row in rows] == expected
    assert [row["title"] for row in rows] == [
        title(row["item_id"]) for row in rows
    ]
    for listed in found.lists():
        assert max(np.bincount(np.array(listed) % 5)) == 2
    assert (
        main(["recommend", "--ckpt", "c.ckpt", "--out", "o.jsonl", *args]) == 0
    )
    with open("o.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert [line["item_ids"] for line in lines] == found.lists()
    assert lines[5]["titles"] == [title(raw) for raw in found.lists()[5]]

    capsys.readouterr()
    write_ids("bad.txt", [7, *"abcdefg"])
    for bad, message in (
        (["--items", "none.txt"], "--items must exist (got 'none.txt')"),
        (["--exclude-items", "bad.txt"], "(got 7 others: a, b, c, d, e, ...)"),
        (["--max-per-group", "0"], "--max_per_group must be at least 1"),
    ):
        assert run("recommend", *bad) == 1
        assert message in capsys.readouterr().err
    Path("bad.txt").write_text("")
    assert run("recommend", "--items", "bad.txt") == 1
    assert "'bad.txt' must have an id a line" in capsys.readouterr().err


def test_titles_are_kept(recommender: Recommender) -> None:
    expected = {item: title(item) for item in range(NUM_ITEMS)}
    assert Recommender.load("c.ckpt").titles.to_dict() == expected
    everything = replace(recommender.source, on_all_data=True).load()
    model = TMFUN.from_data(everything[0], channels=8)
    assert Recommender(model, everything).titles.to_dict() == expected
    larger = recommender.add_items([100], {"visual": np.ones((1, 8))})
    assert larger.titles.to_dict() == {**expected, 100: ""}
    titles = larger.explain(3, 100).titles
    assert titles.items() >= {100: ""}.items()


def test_without_titles_and_groups(capsys: Any) -> None:
    Path("toy/item_table.csv").unlink()
    assert run("recommend", "--with-titles") == 1
    assert "must have titles of its items" in capsys.readouterr().err
    assert run("recommend", "--max-per-group", "2") == 1
    assert "--max_per_group must come with" in capsys.readouterr().err
    assert not Path("out.csv").exists()
    assert run("recommend") == 0
    assert "title" not in read_rows()[0]


@pytest.mark.parametrize("by", ["embedding", "visual", "content"])
def test_similar(recommender: Recommender, by: str, capsys: Any) -> None:
    assert run("similar", "--by", by, "--k", "4") == 0
    found, score = recommender.similar_items(range(NUM_ITEMS), 4, by)
    rows = read_rows()
    assert [int(row["similar_id"]) for row in rows] == found.ravel().tolist()
    assert [int(row["item_id"]) for row in rows[::4]] == [*range(NUM_ITEMS)]
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "3", "4"]
    np.testing.assert_allclose(
        [float(row["score"]) for row in rows], score.ravel(), rtol=1e-6
    )
    assert "out.csv: 40 items\n" in capsys.readouterr().out

    write_ids("asked.txt", [5, 3])
    write_ids("few.txt", [3, 8, 13, 21])
    args = ["--items", "asked.txt", "--candidates", "few.txt", "--by", by]
    args += ["--max-per-group", "1", "--with-titles"]
    assert run("similar", *args) == 0
    found, _ = recommender.similar_items(
        [5, 3], 10, by, [3, 8, 13, 21], max_per_group=1
    )
    rows = read_rows()
    assert [int(row["similar_id"]) for row in rows] == found[
        :, :2
    ].ravel().tolist()
    assert [row["title"] for row in rows] == ["Song ♪5"] * 2 + [""] * 2
    assert [row["similar_title"] for row in rows] == [
        title(row["similar_id"]) for row in rows
    ]
    assert "2 have fewer than 10 similar items left" in capsys.readouterr().out
    assert run("similar", "--by", "sound") == 1
    error = capsys.readouterr().err
    assert "one of embedding, content, visual (got 'sound')" in error


def test_similar_to_items_never_trained(capsys: Any) -> None:
    """By embedding they have no lists, and are in none."""
    path = Path("toy/toy.inter")
    path.write_text(re.sub(r"\t([57])\t0\n", r"\t\1\t2\n", path.read_text()))
    source = DatasetOptions("toy", k=3)
    dataset = source.load()
    model = LightGCN.from_data(dataset[0], channels=8)
    Recommender(model, dataset, source).save("c.ckpt")
    assert run("similar", "--k", "99") == 0
    out, err = capsys.readouterr()
    asked = [str(item) for item in range(NUM_ITEMS) if item not in (5, 7)]
    rows = read_rows()
    for column in ("item_id", "similar_id"):
        assert sorted({int(row[column]) for row in rows}) == [*map(int, asked)]
    assert err == (
        "warning: By embedding, items without a training interaction are "
        "similar to none, as LightGCN reads no features: 2 item(s): 5, 7\n"
    )
    assert out == (
        "out.csv: 38 items\n38 have fewer than 99 similar items left\n"
    )
    write_ids("asked.txt", [3, 7])
    assert run("similar", "--items", "asked.txt") == 1
    error = capsys.readouterr().err
    assert error.startswith("tmfun similar: error: --items must have training")
    assert error.endswith("(got 1 item(s): 7)\n")
    assert error.count("\n") == 1
    assert run("similar", "--by", "visual") == 0
    assert len({row["item_id"] for row in read_rows()}) == NUM_ITEMS


def test_score(recommender: Recommender, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(pair_files, "CHUNK", 100)
    found = recommender.recommend(k=NUM_ITEMS, exclude_seen=False)
    frame = pd.DataFrame(
        {
            "item_id": found.item_id.ravel(),
            "note": "NA",
            "user_id": np.repeat(found.user_id, NUM_ITEMS),
        }
    )
    last = {"item_id": [7], "note": "NA", "user_id": "nobody"}
    frame = pd.concat([frame, pd.DataFrame(last)])
    frame.to_csv("pairs.csv", index=False)
    assert run("score", "--pairs", "pairs.csv") == 0
    out = capsys.readouterr().out
    assert f"out.csv: {len(frame)} pairs\n1 of them are of users" in out
    *rows, other = read_rows()
    assert list(other) == ["item_id", "note", "user_id", "score", "source"]
    assert [row["item_id"] for row in rows] == [*map(str, found.item_id.flat)]
    assert {row["note"] for row in rows} == {"NA"}
    score = [float(row["score"]) for row in rows]
    np.testing.assert_allclose(score, found.score.ravel(), atol=1e-6)
    assert float(other["score"]) == recommender.popularity[7]
    assert other["source"] == "most-popular"
    with gzip.open("pairs.tsv.gz", "wt") as file:
        file.write("user_id\titem_id\n3\t7\n")
    assert run("score", "--pairs", "pairs.tsv.gz") == 0
    assert len(read_rows()) == 1


def test_unknown_items_of_pairs(monkeypatch: Any, capsys: Any) -> None:
    """Are told once, of all rows."""
    monkeypatch.setattr(pair_files, "CHUNK", 2)
    lines = [f"3,{item}\n" for item in ("x", 7, "y", "x", "x", "y", 9)]
    Path("pairs.csv").write_text("user_id,item_id\n" + "".join(lines))
    assert run("score", "--pairs", "pairs.csv", "--unknown", "warn") == 0
    error = capsys.readouterr().err
    assert error == (
        "warning: 5 of the pairs have items that are not in the data set, and "
        "no score: x, y\n"
    )
    assert [row["score"] == "" for row in read_rows()] == [
        item in "xy" for item in "x7yxxy9"
    ]


def test_fewer_items_than_places(capsys: Any) -> None:
    write_ids("few.txt", [5, 3, 8])
    for args in (
        ["recommend", "--items", "few.txt", "--exclude_seen=false"],
        ["similar", "--candidates", "few.txt"],
    ):
        assert run(*args, "--k", "1000") == 0
        out = capsys.readouterr().out
        num_lists = len(read_rows()) // 3
        assert f"{num_lists} have fewer than 1000 " in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id\n3,7\n3,x\n3,y\n", "(got 2 others: x, y)"),
        ("user_id,item\n3,7\n", "the column(s) item_id (got the columns user"),
        ("user_id,item_id\n3,7\n3,\n", "(got '' in row 1, counted from 0)"),
        ("user_id,item_id\n3,7\n\n3\n", "line 4 must have 2 fields, as in the"),
        ('item_id,user_id,x\n7,3,""\n5,3\n', "'x'] (got 2)"),
        ("user_id,item_id,user_id\n3,7,4\n", "columns of distinct names (got"),
        ("user_id,item_id\n 3,7\n", "(got ' 3' in row 0, counted from 0)"),
        ("user_id,item_id\n3,7,8\n", "must have rows of 2 fields"),
        ("user_id,item_id\n3,7\n3,7,8\n", "cannot be read: "),
        ("user_id,item_id,score\n3,7,8\n", "column(s) score, which are writ"),
        ("", "cannot be read: "),
    ],
)
def test_bad_pairs(text: str, message: str, capsys: Any) -> None:
    Path("pairs.csv").write_text(text)
    assert run("score", "--pairs", "pairs.csv") == 1
    error = capsys.readouterr().err
    assert message in error
    assert "'pairs.csv'" in error
    assert error.count("\n") == 1
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["score", "--pairs", "file.csv"], "--pairs"),
        (["score", "--pairs=./file.csv"], "--pairs"),
        (["score", "--config", "file.yaml"], "--pairs"),
        (["score", "--pairs", "link.csv"], "--pairs"),
        (["recommend", "--history", "file.csv"], "--history"),
        (["recommend", "--users", "file.csv"], "--users"),
        (["recommend", "--exclude-items", "file.csv"], "--exclude_items"),
        (["recommend", "--cold-items", "x.npy", "file.csv"], "--cold_items"),
        (["similar", "--candidates", "file.csv"], "--candidates"),
        (["export", "--ckpt", "file.csv", "--overwrite"], "--ckpt"),
        (
            [
                "prepare",
                "--log",
                "a.csv",
                "--name",
                "b",
                "--features.x=file.csv",
            ],
            "--features",
        ),
    ],
)
def test_one_file_to_read_and_to_write(
    args: List[str], option: str, capsys: Any
) -> None:
    """Is refused before it is read."""
    path = Path("file.csv")
    path.write_text("user_id,item_id\n3,7\n")
    Path("link.csv").symlink_to(path)
    Path("a.csv").touch()
    Path("file.yaml").write_text("pairs: file.csv\n")
    command, *rest = args
    if command != "prepare" and "--ckpt" not in args:
        rest += ["--ckpt", "c.ckpt"]
    assert main([command, *rest, "--out", "file.csv"]) == 1
    assert capsys.readouterr().err == (
        f"tmfun {command}: error: --out must be another file than {option} "
        f"(got 'file.csv')\n"
    )
    assert path.read_text() == "user_id,item_id\n3,7\n"


def test_one_file_to_write_twice(capsys: Any) -> None:
    args = ["explain", "--ckpt", "c.ckpt", "--user", "3", "--item", "7"]
    assert main([*args, "--json", "why.svg", "--plot", "./why.svg"]) == 1
    error = capsys.readouterr().err
    assert "--plot must be another file than --json (got 'why.svg')" in error
    assert not Path("why.svg").exists()


def test_explain(recommender: Recommender, capsys: Any) -> None:
    args = ["explain", "--ckpt", "c.ckpt", "--user", "3", "--item", "7"]
    assert main([*args, "--json", "why.json"]) == 0
    assert "gives item 7 (Song ♪7) a score" in capsys.readouterr().out
    why = json.loads(Path("why.json").read_text(encoding="utf-8"))
    assert why["item"]["title"] == "Song ♪7"
    for row in why["history"]:
        assert row.get("title", "") == title(row["id"])
    assert main([*args[:-1], "3"]) == 0
    assert "gives item 3 a score" in capsys.readouterr().out


def test_export(recommender: Recommender, capsys: Any) -> None:
    assert main(["export", "--ckpt", "c.ckpt", "--out", "served"]) == 0
    assert "item_table.csv" in capsys.readouterr().out
    found = load_exported("served")
    assert found.item_table.equals(recommender.dataset.item_table)
    expected = recommender.recommend(k=9, max_per_group=1)
    assert found.recommend(k=9, max_per_group=1).lists() == expected.lists()
    assert len(expected.lists()[0]) == 5
    Path("served/item_table.csv").unlink()
    with pytest.raises(ValueError, match=r"item_table\.csv' cannot be read"):
        load_exported("served")

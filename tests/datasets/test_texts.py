"""Texts of items in columns of a table."""

import os
import re
import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.cli.main import main
from tmfun_pyg.datasets import MultimodalRecDataset, _text_encoder, prepare

COLUMNS = ["title", "description"]
ITEMS = """\
item_id,title,price,description
0,aa b,1,c
1,,2,bb
2,"a, b",3,
3,,4,
4,  ,5,NA c
7,aab c,6,
"""
COUNTS = [[2, 1, 1], [0, 2, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
COUNTS += [[0, 0, 0], [0, 0, 0], [2, 1, 1]]  # Item 7 is cold.


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of items 0 to 6 and the texts of some, in the working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{u},{(u + i) % 7}" for u in range(10) for i in range(5)]
    Path("log.csv").write_text("\n".join(["user_id,item_id", *rows, ""]))
    Path("items.csv").write_text(ITEMS)


def run(**options: Any) -> Any:
    options = {"texts": "items.csv", "text_cols": COLUMNS, **options}
    return prepare("log.csv", "out", "own", **options)


def kept(cache: Path) -> List[Path]:
    return sorted(cache.glob("texts/*/*"))


def test_columns(encoder: str, asked: List[str]) -> None:
    report = run(encoder=encoder)
    item = MultimodalRecDataset("out", "own", zero_rows="mask")[0]["item"]
    assert item.x_text.tolist() == COUNTS
    assert item.mask_text.tolist() == [any(row) for row in COUNTS]
    numbers = report.modalities["text"]
    assert (numbers["present"], numbers["missing"]) == (5, 3)
    assert report.cold_items == 1
    # Items 0 and 7 have the same text, in other columns.
    assert sorted(asked) == ["NA c", "a, b", "aa b c", "aab c", "bb"]


def test_equal_texts_are_encoded_once(encoder: str, asked: List[str]) -> None:
    Path("items.csv").write_text(ITEMS.replace("aab c", "aa b  c"))
    run(encoder=encoder, text_cols=("title", "description"))
    assert sorted(asked) == ["NA c", "a, b", "aa b c", "bb"]
    item = MultimodalRecDataset("out", "own", zero_rows="mask")[0]["item"]
    assert item.x_text.tolist() == COUNTS


def test_a_killed_run_goes_on(
    encoder: str, asked: List[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_text_encoder, "CHUNK", 2)
    model = sys.modules["sentence_transformers"].SentenceTransformer
    encode = model.encode

    def encode_twice(*args: Any, **kwargs: Any) -> Any:
        if len(asked) == 4:
            raise KeyboardInterrupt
        return encode(*args, **kwargs)

    with monkeypatch.context() as context:
        context.setattr(model, "encode", encode_twice)
        with pytest.raises(KeyboardInterrupt):
            run(encoder=encoder)
    assert not Path("out").exists()
    assert len(kept(cache)) == 2
    kept(cache)[0].with_name(".killed.part.npz").write_bytes(b"PK")
    done = asked.copy()
    asked.clear()
    run(encoder=encoder)
    assert len(asked) == 1
    assert len(set(done + asked)) == 5
    item = MultimodalRecDataset("out", "own", zero_rows="mask")[0]["item"]
    assert item.x_text.tolist() == COUNTS

    # Once more, in another order and beside a new text, by name:
    asked.clear()
    rows = ITEMS.splitlines()
    text = "\n".join([rows[0], *rows[:0:-1], "6,new a,7,"])
    Path("items.csv").write_text(text)
    run(encoder="all-letters", overwrite=True)
    assert asked == ["new a"]
    item = MultimodalRecDataset("out", "own", zero_rows="mask")[0]["item"]
    expected = [*COUNTS[:6], [1, 0, 0], COUNTS[7]]
    assert item.x_text.tolist() == expected


def test_another_model_encodes_anew(
    encoder: str, asked: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(encoder=encoder)
    model = sys.modules["sentence_transformers"].SentenceTransformer
    init = model.__init__

    def double(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        with torch.no_grad():
            self.weight.mul_(2)

    monkeypatch.setattr(model, "__init__", double)
    asked.clear()
    run(encoder=encoder, overwrite=True)
    assert len(asked) == 5
    item = MultimodalRecDataset("out", "own", zero_rows="mask")[0]["item"]
    assert item.x_text.tolist() == (2 * np.array(COUNTS)).tolist()


def test_damaged_cache(encoder: str, cache: Path) -> None:
    run(encoder=encoder)
    (path,) = kept(cache)
    path.write_bytes(path.read_bytes()[:-30])
    message = rf"'{re.escape(str(path))}' is damaged .*; delete it"
    with pytest.raises(ValueError, match=message):
        run(encoder=encoder, overwrite=True)
    path.unlink()
    run(encoder=encoder, overwrite=True)


def test_after_a_format(encoder: str, capsys: Any) -> None:
    """The texts that an earlier call has written, on the command line."""
    reviews = [
        f'{{"user_id": "A{u}", "parent_asin": "00{(u + i) % 7}", '
        f'"timestamp": {10**12 + i}}}\n'
        for u in range(10)
        for i in range(5)
    ]
    Path("log.jsonl").write_text("".join(reviews))
    meta = ['{"parent_asin": "003", "title": "a\\nb", "features": ["c a"]}\n']
    meta += ['{"parent_asin": "004"}\n']
    Path("meta.jsonl").write_text("".join(meta))
    args = ["prepare", "--format", "amazon2023", "--log", "log.jsonl"]
    args += ["--items", "meta.jsonl", "--out", ".", "--name", "own"]
    assert main(args) == 0
    args += ["--texts", "own/item_texts.csv", "--text-cols", "text"]
    assert main([*args, "--encoder", encoder, "--overwrite"]) == 0
    assert "'text': 3 features of 1 items, 6 without" in capsys.readouterr().out
    item = MultimodalRecDataset(".", "own", zero_rows="mask")[0]["item"]
    assert item.x_text[3].tolist() == [2, 1, 1]
    assert item.mask_text.nonzero().tolist() == [[3]]
    assert Path("own", "item_texts.csv").exists()


def test_table_of_a_format(encoder: str, capsys: Any) -> None:
    rows = [
        f"{u}\t{(u + i) % 7}\t4\t{u + i}" for u in range(9) for i in range(5)
    ]
    Path("u.data").write_text("\n".join(rows) + "\n")
    Path("movies.csv").write_text("movieId,title,genres\n0,aa,b\n5,c,bb\n")
    args = ["prepare", "--format", "movielens", "--log", "u.data"]
    args += ["--items", "movies.csv", "--out", ".", "--name", "own"]
    args += ["--encoder", encoder, "--texts", "movies.csv"]
    args += ["--text-cols", "title", "genres"]
    assert main(args) == 1
    assert "the column --item_col item_id and title" in capsys.readouterr().err
    assert main([*args, "--item-col", "movieId"]) == 0
    # The default model reads the texts.
    assert "LightGCN" not in capsys.readouterr().out
    dataset = MultimodalRecDataset(".", "own", zero_rows="mask")
    assert dataset[0]["item"].x_text[[0, 5]].tolist() == [[2, 1, 0], [0, 2, 1]]
    assert dataset.item_table.title.tolist()[5] == "c"


def test_parquet(encoder: str) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"item_id": [0, 1], "title": ["a\nb", None]})
    frame.to_parquet("items.parquet")
    options = {"texts": "items.parquet", "encoder": encoder}
    report = run(text_cols=["title"], **options)
    assert report.modalities["text"]["present"] == 1
    frame["title"] = pd.Series([None, ["a", "b"]], dtype=object)
    frame.to_parquet("items.parquet")
    with pytest.raises(
        ValueError,
        match=r"items\.parquet', column 'title' must have text \(got .*item 1",
    ):
        run(text_cols=["title"], overwrite=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_cols": None}, r"'text_cols' must list .*'items\.csv' \(got No"),
        ({"text_cols": "title"}, r"'text_cols' must list .* \(got 'title'\)"),
        ({"text_cols": []}, r"'text_cols' must list .* \(got \[\]\)"),
        (
            {"text_cols": ["title", "price", "title"]},
            r"'text_cols' must name each column once \(got title, price, title",
        ),
        ({"texts": None}, "'text_cols' must come with 'texts'"),
        (
            {"texts": None, "text_cols": None, "encoder": "all"},
            r"'encoder' must come with 'texts', .* \(got 'all'\)",
        ),
        (
            {"features": {"text": "x.npy"}},
            "'features' must not have the modality 'text' beside 'texts'",
        ),
        ({"encoder": None}, r"'encoder' must be .* in 'items\.csv' \(got None"),
        ({"encoder": "all"}, r"'encoder' must be .*'all': all is no model\)"),
        (
            {"text_cols": ["heading"]},
            r"'items\.csv' must have .*'item_id' and heading \(got 6 rows and "
            r"the columns item_id, title, price, description\)",
        ),
        ({"item_col": "id"}, "must have .* item_col='id'"),
        ({"texts": "items.txt"}, r"'items\.txt' must be a \.csv, \.tsv or"),
        ({"texts": "no.csv"}, r"'no\.csv' does not exist"),
        ({"texts": "empty.csv"}, r"empty\.csv' must have texts in the columns"),
        ({"texts": "twice.csv"}, r"twice\.csv', column 'item_id' must have ea"),
        ({"texts": "others.csv"}, r"others\.csv' must have item ids of 'log"),
    ],
)
def test_mistakes(encoder: str, options: Any, message: str) -> None:
    head = "item_id,title,description\n"
    Path("empty.csv").write_text(head + "0,,\n1, ,\n")
    Path("twice.csv").write_text(head + "0,a,\n0,,b\n")
    Path("others.csv").write_text(head + "x,a,\ny,,b\n")
    before = sorted(os.listdir())
    with pytest.raises(ValueError, match=message):
        run(**{"encoder": encoder, **options})
    assert set(os.listdir()) - {"cache"} == set(before)


def test_command_line_names_options(capsys: Any) -> None:
    args = ["prepare", "--log", "log.csv", "--out", ".", "--name", "own"]
    assert main([*args, "--texts", "items.csv"]) == 1
    assert "--text_cols must list the columns" in capsys.readouterr().err
    args += ["--texts", "items.csv", "--text-cols", "title", "description"]
    assert main(args) == 1
    assert "--encoder must be the folder or the" in capsys.readouterr().err

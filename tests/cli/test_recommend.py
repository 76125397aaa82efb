"""The commands on what a checkpoint holds."""

import csv
import dataclasses
import errno
import json
import re
from pathlib import Path
from typing import Any, List

import numpy as np
import pandas as pd
import pytest

from tmfun_pyg.cli.main import main
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.training import DatasetOptions

NUM_USERS = 60
pytestmark = pytest.mark.usefixtures("recommender")


def read_rows() -> List[dict]:
    with Path("out.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_recommend(recommender: Recommender, capsys: Any) -> None:
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv", "--k", "2"]
    assert main(args) == 0
    rows = read_rows()
    found = recommender.recommend(k=2)
    assert [
        int(row["item_id"]) for row in rows
    ] == found.item_id.ravel().tolist()
    assert f"out.csv: {NUM_USERS} users" in capsys.readouterr().out
    Path("users.txt").write_text("3\r\nnobody\r\n", encoding="utf-8")
    args += ["--users", "users.txt"]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "1 of them are unknown to the model" in out
    assert "(source: most-popular): nobody\n" in out
    rows = read_rows()
    assert [row["user_id"] for row in rows] == ["3", "3", "nobody", "nobody"]
    assert [row["source"] for row in rows[1:3]] == ["model", "most-popular"]

    rng = np.random.default_rng(1)
    np.save("visual_feat.npy", rng.normal(size=(3, 8)).astype(np.float32))
    Path("ids.txt").write_text("100\n101\n102\n")
    new = ["--cold-items", "visual_feat.npy", "ids.txt"]
    assert main([*args, *new, "--only-cold"]) == 0
    rows = read_rows()
    assert {row["item_id"] for row in rows} <= {"100", "101", "102"}
    assert len(rows) == 4
    assert main([*args, *new, "--k", "99"]) == 0
    assert "have fewer than 99 items left" in capsys.readouterr().out
    for bad, match in (
        (
            ["--cold-items", "visual_feat.npy"],
            "must be one .txt file of item ids",
        ),
        (
            ["--cold-items", "a.npy", "b.npy", "ids.txt"],
            "named after some of ['visual']",
        ),
        (
            ["--only-cold", "--exclude-seen", "false"],
            "--only_cold must come with --cold_items",
        ),
        (["--users", "none.txt"], "--users must exist (got 'none.txt')"),
        (["--k", "0"], "--k must be at least 1 (got 0)"),
    ):
        assert main([*args, *bad]) == 1
        assert match in capsys.readouterr().err
    Path("header.txt").write_text("item_id\n100\n")
    Path("two.txt").write_text("100\n101\n")
    Path("known.txt").write_text("100\n101\n3\n")
    x = np.ones((3, 8), np.float32)
    np.save("narrow_feat.npy", x[:, 1:])
    x[1, 1] = np.nan
    np.save("bad_feat.npy", x)
    for table, ids, match in (
        ("bad", "ids", "'bad_feat.npy' must be finite .* 1 item.s.: 101"),
        ("narrow", "ids", r"'narrow_feat.npy' must be of shape .* 8\]"),
        ("visual", "two", "'two.txt' must have 3 item ids, .*visual_feat"),
        ("visual", "known", r"'known.txt' must be new .* 1 item\(s\): 3\)"),
        ("visual", "header", "'header.txt', line 1 must be an id .*'item_id'"),
    ):
        new = ["--cold-items", f"{table}_feat.npy", f"{ids}.txt"]
        assert main([*args, *new]) == 1
        assert re.search(match, capsys.readouterr().err)
    Path("users.txt").write_text("3\n\n4\n", encoding="utf-8")
    assert main(args) == 1
    assert "'users.txt', line 2 must be an id" in capsys.readouterr().err


def test_checkpoint_without_source(folder: Path, capsys: Any) -> None:
    """Is read with --root; rows of zeros are of items without the modality."""
    features = np.load("toy/visual_feat.npy")
    features[3] = 0
    np.save("toy/visual_feat.npy", features)
    source = DatasetOptions("toy", zero_rows="mask", k=3)
    model = TMFUN.from_data(source.load()[0], channels=8)
    recommender = Recommender(model, source.load())
    recommender.save("a.ckpt")
    args = ["recommend", "--ckpt", "a.ckpt", "--out", "out.csv", "--k", "3"]
    assert main(args) == 1
    assert "has no source: pass --root\n" in capsys.readouterr().err
    assert main([*args, "--root", "toy"]) == 0
    items = [int(row["item_id"]) for row in read_rows()]
    assert items == recommender.recommend(k=3).item_id.ravel().tolist()
    # An option that the command does not have is no advice:
    assert main([*args, "--ckpt", "c.ckpt"]) == 1
    error = capsys.readouterr().err
    assert error.endswith("all-zero rows (got 1 item(s): 3)\n")


def test_history(recommender: Recommender, capsys: Any) -> None:
    """Lists are those of Python, to the last id."""
    lines = ["user_id,item_id,time", "3,7,1", "NA,5,2", "007,5,3", "3,9,4"]
    lines += ["ü,12,5", "NA,5,6", "null,31,7"]
    Path("log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv", "--k", "4"]
    args += ["--history", "log.csv"]
    history = {"3": [7, 9], "NA": [5], "007": [5], "ü": [12], "null": [31]}
    for replace in (False, True):
        assert main([*args, "--replace"] if replace else args) == 0
        found = recommender.recommend(history=history, k=4, replace=replace)
        rows = read_rows()
        users = [row["user_id"] for row in rows]
        assert users == found.user_id.repeat(4).tolist()
        items = [int(row["item_id"]) for row in rows]
        assert items == found.item_id.ravel().tolist()
        scores = [float(row["score"]) for row in rows]
        assert scores == pytest.approx(found.score.ravel().tolist())
        assert {row["source"] for row in rows} == {"folded-in"}
        assert "out.csv: 5 users" in capsys.readouterr().out

    Path("out.csv").unlink()
    Path("users.txt").write_text("3\n")
    for bad, match in (
        (["--users", "users.txt"], "--users must be left out with --history"),
        (["--history", "none.csv"], "--history must exist (got 'none.csv')"),
    ):
        assert main([*args, *bad]) == 1
        assert match in capsys.readouterr().err
    assert main([*args[:-2], "--replace"]) == 1
    error = capsys.readouterr().err
    assert "--replace must come with --history" in error
    for text, match in (
        ("user_id,item_id\n3,x\n4,y\n", "(got 2 others: x, y)"),
        ("user,item_id\n3,7\n", "must have the columns ['user_id', 'item_id']"),
        ("user_id,item_id\n3,\n", "row 0, counted from 0, has none"),
        ("user_id,item_id\n", "'log.csv' must have rows (got none)"),
        ("user_id,item_id\n3.0,7\n", "in row 0, counted from 0)\n"),
    ):
        Path("log.csv").write_text(text)
        assert main(args) == 1
        assert match in capsys.readouterr().err
    assert not Path("out.csv").exists()


def test_layout_of_a_history(capsys: Any) -> None:
    """Is that of the logs of prepare."""
    Path("log.csv").write_text("user_id,item_id\n3,7\nü,5\n", "utf-8")
    Path("log.txt").write_text("3::1::7\nü::2::5\n", "latin-1")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv"]
    assert main([*args, "--history", "log.csv"]) == 0
    expected = read_rows()
    layout = ["--columns", "user_id", "time", "item_id", "--sep", "::"]
    layout += ["--encoding", "latin-1"]
    assert main([*args, "--history", "log.txt", *layout]) == 0
    assert read_rows() == expected
    assert main([*args, "--sep", ";"]) == 1
    assert "must come with --history" in capsys.readouterr().err


def test_unknown_ids(recommender: Recommender, capsys: Any) -> None:
    """Are an error, or counted and named in a warning, in all files."""
    log = [f"a,{item}" for item in ("x", "7", "y", "y", "z", "p", "q", "r")]
    log = ["user_id,item_id", *log, "b,x"]
    Path("log.csv").write_text("\n".join(log) + "\n")
    for name, lines in (
        ("some.txt", ["7", "x", "5", "9"]),
        ("out.txt", ["y", "5"]),
    ):
        Path(name).write_text("\n".join(lines) + "\n")
    warn = ["--unknown", "warn"]
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv"]
    args += ["--k", "3", "--history", "log.csv", "--exclude-items", "out.txt"]
    advice = "; pass --unknown warn to go on without them\n"
    assert main([*args[:-4], *args[-2:]]) == 1
    error = capsys.readouterr().err
    assert "'out.txt' must hold items of the data set, with ids su" in error
    assert error.endswith(f"(got y){advice}")
    assert main(args) == 1
    assert capsys.readouterr().err == (
        "tmfun recommend: error: 'log.csv', column 'item_id' must hold items "
        "of the data set, with ids such as 0 (got 6 others: x, y, z, p, q, "
        f"...){advice}"
    )
    assert main([*args[:-4], "--items", "some.txt"]) == 1
    assert "'some.txt' must hold items of the" in capsys.readouterr().err
    assert main([*args, *warn]) == 0
    err = capsys.readouterr().err
    assert "warning: 'log.csv', column 'item_id' holds what is not in th" in err
    assert "(got 6 others: x, y, z, p, q, ...)" in err
    assert "warning: 'out.txt' holds what is not in the data set" in err
    history = {"a": [7], "b": []}
    found = recommender.recommend(k=3, history=history, exclude_items=[5])
    items = [int(row["item_id"]) for row in read_rows()]
    assert items == found.item_id.ravel().tolist()

    args = ["similar", "--ckpt", "c.ckpt", "--out", "out.csv", "--k", "2"]
    args += ["--items", "some.txt"]
    assert main(args) == 1
    assert "error: 'some.txt' must hold" in capsys.readouterr().err
    for option in ("--candidates", "--exclude-items"):
        assert main([*args[:-2], option, "some.txt"]) == 1
        error = capsys.readouterr().err
        assert "error: 'some.txt' must hold items of the data set" in error
        assert error.endswith(f"(got x){advice}")
    assert main([*args, *warn]) == 0
    assert "warning: 'some.txt' holds" in capsys.readouterr().err
    rows = read_rows()
    similar, _ = recommender.similar_items([7, 5, 9], 2)
    assert [int(row["similar_id"]) for row in rows] == similar.ravel().tolist()
    assert [row["item_id"] for row in rows] == ["7", "7", "5", "5", "9", "9"]

    Path("pairs.csv").write_text("user_id,item_id\n3,7\n3,x\n4,5\n")
    args = ["score", "--ckpt", "c.ckpt", "--pairs", "pairs.csv"]
    args += ["--out", "out.csv"]
    assert main(args) == 1
    assert capsys.readouterr().err == (
        "tmfun score: error: 'pairs.csv', column 'item_id' must hold items of "
        f"the data set, with ids such as 0 (got x){advice}"
    )
    assert main([*args, *warn]) == 0
    rows = read_rows()
    assert [row["source"] for row in rows] == ["model", "", "model"]
    assert rows[1]["score"] == ""
    expected = recommender.score([3, 4], [7, 5]).score
    scores = [float(rows[0]["score"]), float(rows[2]["score"])]
    assert scores == pytest.approx(expected)


def test_header_of_98_tib(capsys: Any) -> None:
    with Path("visual.npy").open("wb") as file:
        about = {"descr": "<f4", "fortran_order": False, "shape": (2**42, 7)}
        np.lib.format.write_array_header_1_0(file, about)
    Path("ids.txt").write_text("100\n")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv"]
    assert main([*args, "--cold-items", "visual.npy", "ids.txt"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: 'visual.npy' must be a complete .npy file" in error
    assert not Path("out.csv").exists()


def test_explain(recommender: Recommender, capsys: Any) -> None:
    args = ["explain", "--ckpt", "c.ckpt", "--user", "3", "--item", "7"]
    assert main([*args, "--json", "why.json", "--num-items", "2"]) == 0
    expected = recommender.explain(3, 7)
    assert capsys.readouterr().out == expected.to_text(2) + "\n"
    why = json.loads(Path("why.json").read_text(encoding="utf-8"))
    assert why == expected.to_dict()


def test_metrics_that_cannot_be_kept(monkeypatch: Any, capsys: Any) -> None:
    """They are printed all the same."""
    opened = Path.open

    def refuse(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "metrics" in self.name and mode != "r":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert main(["test", "--ckpt", "c.ckpt"]) == 1
    out, error = capsys.readouterr()
    assert re.search(r"TMFUN( +0\.\d{4}){4}\n", out)
    assert error.splitlines()[-1] == (
        "tmfun test: error: 'metrics.json' cannot be written: Permission "
        "denied; the metrics above are not kept"
    )
    Path("metrics.json").write_text("[1]")
    assert main(["test", "--ckpt", "c.ckpt"]) == 1
    assert "metrics.json' must hold metrics" in capsys.readouterr().err


def test_lists_beyond_accuracy(recommender: Recommender, capsys: Any) -> None:
    expected = recommender.evaluate("test", beyond_accuracy=True)
    assert main(["test", "--ckpt", "c.ckpt"]) == 0
    assert "coverage@20" not in capsys.readouterr().out
    assert main(["test", "--ckpt", "c.ckpt", "--beyond-accuracy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["coverage", "gini", "novelty", "popularity", "cold_share"]
    names = [f"{name}@20" for name in [*names, "diversity"]]
    assert lines[3].split()[2:] == names
    assert lines[4].startswith("most-popular")
    assert lines[5].split()[1:] == [f"{expected[name]:.4f}" for name in names]
    written = json.loads(Path("metrics.json").read_text())
    assert written["test"] == expected


def test_export(recommender: Recommender, capsys: Any) -> None:
    Path("run").mkdir()
    Path("run/best.ckpt").touch()
    args = ["export", "--ckpt", "c.ckpt", "--out", "served"]
    assert main([*args, "--formats", "scorer", "--k", "3"]) == 0
    assert "scorer.pt2, manifest.json" in capsys.readouterr().out
    assert Path("served/scorer.pt2").exists()
    found = load_exported("served")
    assert (found.user_emb == recommender.scorer.user_emb).all()
    assert main(args) == 1
    error = capsys.readouterr().err
    assert "already exists; pass --overwrite to replace" in error
    assert main([*args, "--overwrite", "true"]) == 0
    assert main([*args, "--overwrite", "--k", "3"]) == 0
    assert main(["export", "--ckpt", "run", "--out", "served"]) == 1
    assert "pass 'run/best.ckpt'" in capsys.readouterr().err
    assert not Path("served/scorer.pt2").exists()


def test_options_of_a_checkpoint(capsys: Any) -> None:
    for command in ("recommend", "explain", "export", "validate", "test"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        for option in ("--ckpt", "--root", "--name"):
            assert option in text
        assert "--recommender" not in text


def test_fallback(recommender: Recommender, capsys: Any) -> None:
    Path("users.txt").write_text("nobody\n", encoding="utf-8")
    table = {"group": np.arange(len(recommender.dataset.item_ids)) % 2}
    frame = pd.DataFrame(table).astype(str)
    frame.to_csv("toy/item_table.csv", index_label="itemID")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv"]
    args += ["--users", "users.txt", "--k", "4"]
    assert main([*args, "--fallback", "group:group"]) == 0
    assert "(source: group:group)" in capsys.readouterr().out
    rows = read_rows()
    found = dataclasses.replace(
        Recommender.load("c.ckpt"), fallback="group:group"
    )
    (expected,) = found.recommend(["nobody"], k=4).lists()
    assert [int(row["item_id"]) for row in rows] == expected
    assert len({item % 2 for item in expected[:2]}) == 2
    assert {row["source"] for row in rows} == {"group:group"}
    export = ["export", "--ckpt", "c.ckpt", "--out", "served"]
    assert main([*export, "--fallback", "group:group"]) == 0
    served = load_exported("served").recommend(["nobody"], k=4)
    assert served.lists() == [expected]
    assert served.source.tolist() == ["group:group"]
    pairs = f"user_id,item_id\nnobody,{expected[0]}\n"
    Path("pairs.csv").write_text(pairs, encoding="utf-8")
    score = ["score", "--ckpt", "c.ckpt", "--pairs", "pairs.csv"]
    score += ["--out", "out.csv", "--fallback", "group:group"]
    assert main(score) == 0
    (row,) = read_rows()
    assert row["source"] == "group:group"
    assert float(row["score"]) == served.score[0, 0]
    capsys.readouterr()
    for bad, match in (
        ("popular:30x", "--fallback must be popular, popular:DAYSd"),
        ("popular:30d", "data set without dates"),
        ("group:brand", "--fallback must name a column of the item table"),
    ):
        assert main([*args, "--fallback", bad]) == 1
        error = capsys.readouterr().err
        assert match in error
        assert error.count("\n") == 1


def test_cold_share(recommender: Recommender, capsys: Any) -> None:
    rng = np.random.default_rng(1)
    np.save("visual.npy", rng.normal(size=(3, 8)).astype(np.float32))
    Path("ids.txt").write_text("100\n101\n102\n")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", "out.csv", "--k", "10"]
    new = ["--cold-items", "visual.npy", "ids.txt"]
    assert main([*args, *new, "--cold-share", "0.2"]) == 0
    rows = [row for row in read_rows() if int(row["item_id"]) >= 100]
    assert [row["rank"] for row in rows] == ["3", "8"] * NUM_USERS
    export = ["export", "--ckpt", "c.ckpt", "--out", "served", "--cold-items"]
    assert main(export) == 0
    served = load_exported("served").recommend(k=10, cold_share=0.2)
    assert main([*args, "--cold-share", "0.2"]) == 0
    found = [int(row["item_id"]) for row in read_rows()]
    assert found == served.item_id.ravel().tolist()
    capsys.readouterr()
    assert main([*args, "--cold-share", "2"]) == 1
    assert "--cold_share must be at most 1" in capsys.readouterr().err

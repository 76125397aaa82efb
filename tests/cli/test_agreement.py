"""What the commands write is what Python returns, whatever the ids are."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pandas as pd
import pytest
import torch
from markupsafe import escape

from tmfun_pyg.cli.main import main
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommendations, Recommender
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.report import page
from tmfun_pyg.report.text import printable
from tmfun_pyg.training import DatasetOptions

# What readers of tables, YAML and shells might take for something else.
IDS = ["007", "7", "NA", "null", "nan", "None", "<NA>", "#N/A", "true", "1e5"]
IDS += ["1_000", "-5", "a,b", 'say "x"', '""', "''", "\u200b", "a\tb", "ü"]
IDS += ["u\u0308", "日本", "Ⅷ", "[a]", "{b: c}", "~", "=1+1", "$x$", "a b", "#"]
NUM = len(IDS)
K = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """A data set of such ids and titles, and a checkpoint; not to be
    changed.
    """
    folder: Path = tmp_path_factory.mktemp("agreement")
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in IDS for i in rng.choice(IDS, 8, replace=False)]
    write_rows(folder / "log.csv", ["user_id", "item_id"], pairs)
    titles = [(i, f"{i}, \N{EIGHTH NOTE}", n % 4) for n, i in enumerate(IDS)]
    write_rows(folder / "items.csv", ["item_id", "title", "group"], titles)
    args = ["prepare", "--log", folder / "log.csv", "--out", folder]
    args += ["--name", "odd", "--items", folder / "items.csv"]
    for name in ("visual", "text"):
        x = rng.normal(size=(NUM, 8)).astype(np.float32)
        np.save(folder / f"{name}.npy", x)
        write_ids(folder / f"{name}_ids.txt", IDS)
        args += [f"--features.{name}", folder / f"{name}.npy"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMFUN_CACHE", str(folder / "cache"))
        assert main([*map(str, args)]) == 0
        source = DatasetOptions(str(folder / "odd"), k=3)
        torch.manual_seed(0)
        dataset = source.load()
        model = TMFUN.from_data(dataset[0], channels=8)
        Recommender(model, dataset, source).save(folder / "c.ckpt")
    write_ids(folder / "users.txt", ["null", "nobody", "007", "NA", "7"])
    write_ids(folder / "stock.txt", IDS[:20])
    write_ids(folder / "not.txt", ["NA", "a,b"])
    write_rows(
        folder / "clicks.csv",
        ["item_id", "user_id"],
        [("007", "N/A"), ("NA", "0"), ("null", "N/A"), ("nan", "null")],
    )
    return folder


@pytest.fixture(autouse=True)
def recommender(folder: Path, monkeypatch: Any) -> Recommender:
    monkeypatch.setenv("TMFUN_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)
    return Recommender.load("c.ckpt")


def write_rows(path: Path, header: List[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_ids(path: Path, ids: List[str]) -> None:
    path.write_text("".join(f"{raw}\n" for raw in ids), encoding="utf-8")


FILTERS = ["--items", "stock.txt", "--exclude-items", "not.txt"]
FILTERS += ["--max-per-group", "1", "--with-titles"]
FILTERED = {"items": IDS[:20], "exclude_items": ["NA", "a,b"]}
HISTORY = {"N/A": ["007", "null"], "0": ["NA"], "null": ["nan"]}
REQUESTS: Dict[str, Any] = {
    "all": ([], {}),
    "some": (
        ["--users", "users.txt", "--exclude-seen", "false"],
        {"users": ["null", "nobody", "007", "NA", "7"], "exclude_seen": False},
    ),
    "filters": (FILTERS, {**FILTERED, "max_per_group": 1}),
    "history": (
        ["--history", "clicks.csv", *FILTERS],
        {"history": HISTORY, **FILTERED, "max_per_group": 1},
    ),
    "replace": (
        ["--history", "clicks.csv", "--replace"],
        {"history": HISTORY, "replace": True},
    ),
}


def rows_of(found: Recommendations) -> List[tuple]:
    """Returns a row for each item of a list."""
    return [
        (user, rank, item, float(score), source)
        for user, listed, scores, source in zip(
            found.user_id.tolist(),
            found.lists(),
            found.score,
            found.source.tolist(),
            strict=True,
        )
        for rank, (item, score) in enumerate(
            zip(listed, scores, strict=False), 1
        )
    ]


def single(number: Any) -> float:
    """Reads a number of a file in the precision that it was written in."""
    return float(np.float32(number))


def read_rows(path: str) -> List[dict]:
    if path.endswith(".parquet"):
        pq = pytest.importorskip("pyarrow.parquet")
        rows: List[dict] = pq.read_table(path).to_pylist()
        return rows
    if path.endswith(".csv"):
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [
        {
            "user_id": line["user_id"],
            "rank": rank,
            "item_id": item,
            "score": single(line["scores"][rank - 1]),
            "source": line["source"],
            "title": line["titles"][rank - 1] if "titles" in line else "",
        }
        for line in lines
        for rank, item in enumerate(line["item_ids"], 1)
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("request_of", REQUESTS)
def test_recommend(
    request_of: str, suffix: str, recommender: Recommender, tmp_path: Path
) -> None:
    words, options = REQUESTS[request_of]
    out = str(tmp_path / f"out.{suffix}")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", out, "--k", str(K)]
    assert main([*args, *words]) == 0
    if suffix != "parquet":  # Which holds single precision.
        text = Path(out).read_text(encoding="utf-8")
        longest = max(map(len, re.findall(r"[0-9.]{6,}", text)))
        assert longest <= len("0.000123456789")
    rows = read_rows(out)
    found = [
        (
            row["user_id"],
            int(row["rank"]),
            row["item_id"],
            single(row["score"]),
            row["source"],
        )
        for row in rows
    ]
    assert found == rows_of(recommender.recommend(k=K, **options))
    if "--with-titles" in words:
        for row in rows:
            assert row["title"] == f"{row['item_id']}, \N{EIGHTH NOTE}"
        assert len(rows) == 4 * len(options.get("history", IDS))


def test_cold_items(recommender: Recommender, tmp_path: Path) -> None:
    """Also for users who are known by such an item alone."""
    ids = ["08", "NULL", "NaN", "Ü,1"]
    write_ids(tmp_path / "new.txt", ids)
    rng = np.random.default_rng(1)
    features = {}
    files = [str(tmp_path / "new.txt")]
    for name in ("visual", "text"):
        features[name] = rng.normal(size=(4, 8)).astype(np.float32)
        files.append(str(tmp_path / f"{name}_feat.npy"))
        np.save(files[-1], features[name])
    clicks = tmp_path / "clicks.csv"
    pairs = [("001", "NULL"), ("01", "NaN")]
    write_rows(clicks, ["user_id", "item_id"], pairs)
    larger = recommender.add_items(ids, features)
    out = str(tmp_path / "out.jsonl")
    args = ["recommend", "--ckpt", "c.ckpt", "--out", out, "--k", str(K)]
    history = {"001": ["NULL"], "01": ["NaN"]}
    options: Any
    for words, options in (
        (["--only-cold"], {"items": ids}),
        ([], {}),
        (["--history", str(clicks)], {"history": history}),
    ):
        assert main([*args, "--cold-items", *files, *words]) == 0
        found = [tuple(row.values())[:-1] for row in read_rows(out)]
        assert found == rows_of(larger.recommend(k=K, **options))


@pytest.mark.parametrize("request_of", ["all", "some", "filters"])
def test_export(
    request_of: str, recommender: Recommender, tmp_path: Path
) -> None:
    out = str(tmp_path / "served")
    assert main(["export", "--ckpt", "c.ckpt", "--out", out]) == 0
    served = load_exported(out)
    assert served.item_table.equals(recommender.dataset.item_table)
    _, options = REQUESTS[request_of]
    found = rows_of(served.recommend(k=K, **options))
    expected = rows_of(recommender.recommend(k=K, **options))
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert [row[4] for row in found] == [row[4] for row in expected]
    scores = [row[3] for row in expected]
    assert [row[3] for row in found] == pytest.approx(scores, rel=1e-6)


def test_score(recommender: Recommender, tmp_path: Path) -> None:
    users, items = [*IDS, "N/A"], [*reversed(IDS), "NA"]
    pairs = zip(users, items, strict=True)
    write_rows(tmp_path / "pairs.csv", ["user_id", "item_id"], pairs)
    out = str(tmp_path / "out.csv")
    args = ["--pairs", str(tmp_path / "pairs.csv"), "--out", out]
    assert main(["score", "--ckpt", "c.ckpt", *args]) == 0
    found = recommender.score(users, items)
    rows = read_rows(out)
    assert [row["user_id"] for row in rows] == users
    assert [row["item_id"] for row in rows] == items
    assert [single(row["score"]) for row in rows] == found.score.tolist()
    sources = [row["source"] for row in rows]
    assert sources == ["model"] * NUM + ["most-popular"]


def test_similar(recommender: Recommender, tmp_path: Path) -> None:
    out = str(tmp_path / "out.csv")
    args = ["--items", "stock.txt", "--out", out, "--with-titles"]
    assert main(["similar", "--ckpt", "c.ckpt", "--k", str(K), *args]) == 0
    ids, score = recommender.similar_items(IDS[:20], K)
    rows = read_rows(out)
    assert [row["item_id"] for row in rows[::K]] == IDS[:20]
    assert [row["similar_id"] for row in rows] == ids.ravel().tolist()
    assert [single(row["score"]) for row in rows] == score.ravel().tolist()
    for row in rows:
        title = f"{row['similar_id']}, \N{EIGHTH NOTE}"
        assert row["similar_title"] == title


@pytest.mark.parametrize("raw", IDS)
def test_explain(raw: str, recommender: Recommender, capsys: Any) -> None:
    args = ["explain", "--ckpt", "c.ckpt", f"--user={raw}", f"--item={raw}"]
    assert main(args) == 0
    expected = recommender.explain(raw, raw).to_text()
    assert capsys.readouterr().out == f"{expected}\n"


def test_report(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(page, "render", lambda *args: ("", b""))
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text('{"val": {"recall@20": 0.5}}')
    shutil.copy(folder / "c.ckpt", run / "best.ckpt")
    ids = [raw for raw in IDS if not raw.startswith("-")]
    out = tmp_path / "out"
    args = ["report", "--run", str(run), "--out", str(out)]
    assert main([*args, "--items", *ids]) == 0
    html = (out / "report.html").read_text(encoding="utf-8")
    for raw in ids:
        cells = [raw, f"{raw}, \N{EIGHTH NOTE}", "asked for"]
        cells = [escape(printable(cell)) for cell in cells]
        row = r"\s*".join(f"<t[hd][^>]*>{re.escape(c)}</t.>" for c in cells)
        assert re.search(row, html)


def test_ids_are_what_they_were(recommender: Recommender) -> None:
    assert set(recommender.dataset.user_ids) == set(IDS)
    assert set(recommender.dataset.item_ids) == set(IDS)
    titles = recommender.titles
    assert isinstance(titles, pd.Series)
    for raw in IDS:
        assert titles[raw] == f"{raw}, \N{EIGHTH NOTE}"

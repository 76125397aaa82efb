"""From a log and feature files to recommendations, as a new user goes it."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmfun_pyg.cli.main import main
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.recommender.export import load_exported

pandas = pytest.importorskip("pandas")


def write_log(prefix: str = "SKU") -> None:
    data = SyntheticMultimodal(80, 50, {"visual": 8, "text": 6}, seed=1)[0]
    store = data["user", "interacts", "item"]
    user, item = np.concatenate(
        [
            store.edge_index.numpy(),
            store.val_edge_label_index.numpy(),
            store.test_edge_label_index.numpy(),
        ],
        axis=1,
    )
    frame = {
        "customer": [f"müller-{u}" for u in user],
        "sku": [f"{prefix}{i}" for i in item],
        "when": np.arange(len(user)),
    }
    pandas.DataFrame(frame).to_csv("log.csv", index=False)
    # Some items lack a picture, others a text.
    ids = np.array([f"SKU{i}" for i in range(50)])
    np.save("image.npy", data["item"].x_visual[5:].numpy())
    Path("image_ids.txt").write_text("\n".join(ids[5:]) + "\n")
    text = {"sku": ids[:45], "vector": list(data["item"].x_text[:45].numpy())}
    pandas.DataFrame(text).to_parquet("text.parquet")


PREPARE = [
    *("prepare", "--log", "log.csv", "--out", "data", "--name", "shop"),
    *("--user-col", "customer", "--item-col", "sku", "--time-col", "when"),
    *("--split", "leave_last_out", "--features.image", "image.npy"),
    *("--features.text", "text.parquet"),
]


def test_whole_way(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    write_log()
    assert main(PREPARE) == 0
    out = capsys.readouterr().out
    assert "80 users, 50 items" in out
    fit = out.splitlines()[-1].split()[1:]
    fit += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    fit += ["--trainer.enable_progress_bar", "false", "--data.k", "3"]
    assert main(fit) == 0
    out = capsys.readouterr().out
    ckpt = out.splitlines()[-1].split()[-1]
    assert ckpt == "runs/shop/TMFUN/seed_0/best.ckpt"
    assert main(["test", "--ckpt", ckpt]) == 0

    args = ["recommend", "--ckpt", ckpt, "--k", "3", "--out", "list.csv"]
    assert main(args) == 0
    with Path("list.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80 * 3
    log = pandas.read_csv("log.csv")
    assert {row["user_id"] for row in rows} == set(log.customer)
    first = rows[0]

    args = ["explain", "--ckpt", ckpt, "--user", first["user_id"]]
    args += ["--item", first["item_id"], "--json", "why.json"]
    assert main([*args, "--plot", "why.png"]) == 0
    assert first["item_id"] in capsys.readouterr().out
    why = json.loads(Path("why.json").read_text(encoding="utf-8"))
    assert why["score"] == pytest.approx(float(first["score"]), rel=1e-4)
    assert Path("why.png").stat().st_size > 0
    assert main([*args[:-2], "--user", "nobody"]) == 1
    assert "'user' must be in the data set" in capsys.readouterr().err

    assert main(["export", "--ckpt", ckpt, "--out", "served"]) == 0
    served = load_exported(Path("served"))
    row = served.user_ids.tolist().index(first["user_id"])
    column = served.item_ids.tolist().index(first["item_id"])
    score = served.user_emb[row] @ served.item_emb[column]
    assert float(score) == pytest.approx(float(first["score"]), rel=1e-4)

    pytest.importorskip("matplotlib")
    assert main(["report", "--run", "runs/shop"]) == 0
    page = Path("runs/shop/report/report.html").read_text(encoding="utf-8")
    assert "TMFUN" in page


def test_bad_input(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_log()
    assert main([*PREPARE, "--user-col", "client"]) == 1
    error = capsys.readouterr().err
    assert "column(s) --user_col client (got the columns ['customer'," in error
    write_log("ART")
    assert main(PREPARE) == 1
    error = capsys.readouterr().err
    assert "'log.csv' such as 'ART0' (got ids such as 'SKU5'" in error
    assert not Path("data/shop").exists()
    Path("data/shop").mkdir(parents=True)
    Path("data/shop/shop.inter").write_text("")
    assert main(PREPARE) == 1
    assert "pass --overwrite to replace" in capsys.readouterr().err

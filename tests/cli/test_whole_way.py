"""From a log and feature files to recommendations, as a new user goes it."""

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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
    fit = shlex.split(out.splitlines()[-1])[1:]
    fit += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    fit += ["--trainer.enable_progress_bar", "false", "--data.k", "3"]
    assert main(fit) == 0
    out = capsys.readouterr().out
    ckpt = out.splitlines()[-1].split()[-1]
    assert ckpt == str(tmp_path / "runs/shop/TMFUN/seed_0/best.ckpt")
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
    assert "--user must be in the data set" in capsys.readouterr().err

    assert main(["export", "--ckpt", ckpt, "--out", "served"]) == 0
    served = load_exported(Path("served"))
    row = served.user_ids.tolist().index(first["user_id"])
    column = served.item_ids.tolist().index(first["item_id"])
    score = served.user_emb[row] @ served.item_emb[column]
    (neighbor, weight), owned = served.neighbors
    own = owned.col[owned.rowptr[row] : owned.rowptr[row + 1]]
    gain = weight[column][torch.isin(neighbor[column], own)].sum()
    score += gain / len(own) ** 0.5
    assert float(score) == pytest.approx(float(first["score"]), rel=1e-4)

    pytest.importorskip("matplotlib")
    assert main(["report", "--run", "runs/shop"]) == 0
    page = Path("runs/shop/report/report.html").read_text(encoding="utf-8")
    assert "TMFUN" in page


FAST = [
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_progress_bar", "false"),
]


def test_whole_way_without_features(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    write_log()
    assert main([*PREPARE[:-4], "--out", "my data"]) == 0

    # What is printed works in any folder, whatever is there.
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "own_data").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    next_command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert next_command[0] == "tmfun"
    assert main([*next_command[1:], *FAST]) == 0
    test = shlex.split(capsys.readouterr().out.splitlines()[-1])
    monkeypatch.chdir(tmp_path)
    assert main(test[1:]) == 0
    assert capsys.readouterr().out.startswith("80 users ")
    ckpt = test[test.index("--ckpt") + 1]
    assert main(["recommend", "--ckpt", ckpt, "--out", "list.csv"]) == 0
    assert main(["export", "--ckpt", ckpt, "--out", "served"]) == 0
    served = load_exported(Path("served"))
    assert served.user_emb.shape[0] == 80

    fit = ["fit", "--config", "own_data", "--data.root", "my data/shop"]
    for model in ("EASE", "ItemKNN", "MostPopular"):
        assert main([*fit, "--model", model]) == 0
        ckpt = f"runs/shop/{model}/seed_0/best.ckpt"
        assert main(["test", "--ckpt", ckpt]) == 0
        args = ["recommend", "--ckpt", ckpt, "--out", f"{model}.csv"]
        assert main(args) == 0
    capsys.readouterr()
    for model in ("TMFUN", "VBPR", "ContentRidge", "WithContent"):
        assert main([*fit, "--model", model]) == 1
        error = capsys.readouterr().err
        assert f"must have features of items for {model} (got none)" in error
        assert "models that read none are BPRMF, LightGCN, " in error
        assert error.count("\n") == 1
        assert not Path(f"runs/shop/{model}").exists()


def test_few_items_with_features(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    write_log()
    np.save("image.npy", np.load("image.npy")[:8])
    Path("image_ids.txt").write_text("".join(f"SKU{i}\n" for i in range(8)))
    assert main(PREPARE) == 0
    out = capsys.readouterr().out
    assert "only 8 of 50 items with interactions have it" in out
    command = shlex.split(out.splitlines()[-1])
    assert command[-2:] == ["--data.k", "7"]
    options = ["--model", "LightGCN", *FAST]
    assert main([*command[1:], *options]) == 0


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

import csv
import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import torch

from tmfun_pyg.cli.main import main
from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.nn import TMFUN, LightGCN, RankingModel
from tmfun_pyg.recommender.add_items import add_items
from tmfun_pyg.recommender.recommendations import (
    recommendations,
    write_recommendations,
)
from tmfun_pyg.training import LoadedCheckpoint
from tmfun_pyg.transforms import FeatureGraph
from tmfun_pyg.utils.ids import IdIndex

NUM_USERS, NUM_ITEMS = 30, 25


def load(cls: type = TMFUN, names: bool = True) -> LoadedCheckpoint:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    log = {"user_id": [], "item_id": []}
    for user in range(NUM_USERS):
        for item in rng.choice(NUM_ITEMS, 6, replace=False):
            log["user_id"].append(f"ü{user}" if names else user)
            log["item_id"].append(f"i{item:02}" if names else int(item))
    x = {
        "visual": rng.normal(size=(NUM_ITEMS, 8)),
        "text": rng.normal(size=(NUM_ITEMS, 5)),
    }
    dataset = MultimodalRecDataset.from_interactions(
        pandas.DataFrame(log), x, pre_transform=FeatureGraph(k=3)
    )
    torch.manual_seed(0)
    model = cls.from_data(dataset[0], channels=8).eval()
    # Far from where it began, so that scores are no ties:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    return LoadedCheckpoint(model, dataset, 0, None)


def new_features(num_items: int = 3) -> dict:
    rng = np.random.default_rng(1)
    return {
        "visual": rng.normal(size=(num_items, 8)).astype(np.float32),
        "text": rng.normal(size=(num_items, 5)).astype(np.float32),
    }


def test_id_index() -> None:
    names = IdIndex(np.array(["b", "a", "007"]))
    assert names.find(["007", "a", "7", "", "b"]).tolist() == [2, 1, -1, -1, 0]
    numbers = IdIndex(np.array([7, -3, 0]))
    asked = ["-3", "7", "07", "x", "0", "-0", "", "9" * 30]
    expected = [1, 0, -1, -1, 2, -1, -1, -1]
    assert numbers.find(asked).tolist() == expected
    assert numbers.find([]).tolist() == []


def test_same_as_model() -> None:
    loaded = load()
    score, item = loaded.model.recommend(k=4)
    (chunk,) = recommendations(loaded, k=4)
    assert chunk.known.all()
    assert (chunk.user_id == loaded.dataset.user_ids).all()
    assert (chunk.item_id == loaded.dataset.item_ids[item.numpy()]).all()
    assert np.array_equal(chunk.score, score.numpy())
    # In chunks, in another order:
    users = loaded.dataset.user_ids[::-1]
    (back,) = recommendations(loaded, iter(users), k=4)
    assert (back.item_id == chunk.item_id[::-1]).all()


def test_unknown_users() -> None:
    loaded = load()
    edges = loaded.dataset[0]["user", "interacts", "item"].edge_index
    count = torch.bincount(edges[1], minlength=NUM_ITEMS)
    order = np.lexsort((np.arange(NUM_ITEMS), -count.numpy()))[:3]
    (chunk,) = recommendations(loaded, ["ü3", "nobody"], k=3)
    assert chunk.known.tolist() == [True, False]
    assert (chunk.item_id[1] == loaded.dataset.item_ids[order]).all()
    assert chunk.score[1].tolist() == count[order].tolist()


def test_some_items() -> None:
    loaded = load()
    user_emb, item_emb = loaded.model()
    items = [3, 7, 11]
    (chunk,) = recommendations(loaded, k=2, items=items)
    for user in range(NUM_USERS):
        seen = loaded.model.seen.edges_of(torch.tensor([user]))[1].tolist()
        left = [item for item in items if item not in seen]
        score = (item_emb[left] @ user_emb[user]).tolist()
        best = sorted(zip(score, left, strict=True), reverse=True)[:2]
        length = int(np.isfinite(chunk.score[user]).sum())
        assert length == len(best)
        found = chunk.item_id[user, :length].tolist()
        ids = loaded.dataset.item_ids
        assert found == [ids[item] for _, item in best]


def test_new_items() -> None:
    loaded = load()
    features = new_features()
    more = add_items(loaded, ["x", "y", "z"], features)
    old, new = loaded.model(), more.model()
    # Users have profiles beside their embeddings, for new items alone:
    width = old[0].size(1)
    assert torch.equal(old[0], new[0][:, :width])
    assert torch.equal(old[1], new[1][:NUM_ITEMS, :width])
    assert not new[1][:NUM_ITEMS, width:].any()
    assert more.dataset.item_ids[NUM_ITEMS:].tolist() == ["x", "y", "z"]
    assert len(loaded.dataset.item_ids) == NUM_ITEMS
    assert loaded.dataset[0]["item"].num_nodes == NUM_ITEMS

    # As if they had been there, without interactions, from the start:
    alone = add_items(
        loaded, ["y"], {name: x[1:2] for name, x in features.items()}
    )
    assert torch.allclose(alone.model()[1][-1], new[1][-2], atol=1e-5)
    # By content alone: the same for the same, whatever the name.
    twice = {name: x[[1, 1, 2]] for name, x in features.items()}
    item_emb = add_items(loaded, ["p", "q", "r"], twice).model()[1]
    assert torch.equal(item_emb[-3], item_emb[-2])
    assert not torch.allclose(item_emb[-2], item_emb[-1], rtol=0.1)


def test_new_items_errors() -> None:
    loaded = load()
    features = new_features()
    for ids, match in (
        (["x", "i03", "y"], r"1 item\(s\): i03 of the data set"),
        (["x", "y", "x"], "x more than once"),
        (["x", "y"], "3 rows for 2 ids"),
        ([], "found none"),
    ):
        with pytest.raises(ValueError, match=match):
            add_items(loaded, ids, features)
    with pytest.raises(ValueError, match="expected integers"):
        add_items(load(names=False), ["x", "y", "z"], features)
    with pytest.raises(ValueError, match="LightGCN can't score"):
        add_items(load(LightGCN), ["x", "y", "z"], features)


def read_rows(path: Path) -> List[List[Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    elif path.suffix == ".parquet":
        pandas = pytest.importorskip("pandas")
        rows = pandas.read_parquet(path).to_dict("records")
    else:
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            pairs = zip(row["item_ids"], row["scores"], strict=True)
            rows += [
                {**row, "rank": rank, "item_id": item, "score": score}
                for rank, (item, score) in enumerate(pairs, start=1)
            ]
    return [
        [
            row["user_id"],
            int(row["rank"]),
            row["item_id"],
            pytest.approx(float(row["score"])),
            row["source"],
        ]
        for row in rows
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_files(tmp_path: Path, suffix: str) -> None:
    loaded = load()
    users = ["ü3", "nobody", "ü3"]
    (chunk,) = recommendations(loaded, users, k=22)
    path = tmp_path / f"out{suffix}"
    count = write_recommendations(path, [chunk, chunk])
    assert count == {"users": 6, "unknown": 2, "short": 4}
    assert list(tmp_path.iterdir()) == [path]
    expected = []
    for _ in range(2):
        for row, user in enumerate(users):
            length = int(np.isfinite(chunk.score[row]).sum())
            source = "model" if chunk.known[row] else "most-popular"
            expected += [
                [user, place + 1, item, float(score), source]
                for place, (item, score) in enumerate(
                    zip(chunk.item_id[row], chunk.score[row], strict=True)
                )
                if place < length
            ]
    assert read_rows(path) == expected


def test_files_whole_or_not(tmp_path: Path) -> None:
    def chunks() -> Any:
        yield from recommendations(load(), k=2)
        raise OSError("No space left on device")

    for name in ("a.csv", "a.parquet", "a.jsonl"):
        with pytest.raises(OSError, match="No space"):
            write_recommendations(tmp_path / name, chunks())
    with pytest.raises(ValueError, match=r"'\.txt', expected \.csv"):
        write_recommendations(tmp_path / "a.txt", [])
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    import tmfun_pyg.cli.recommend as command

    loaded: RankingModel = load()
    monkeypatch.setattr(command, "load", lambda *args: loaded)
    monkeypatch.chdir(tmp_path)
    args = ["recommend", "--ckpt", "c", "--out", "out.csv", "--k", "2"]
    assert main(args) == 0
    assert len(read_rows(Path("out.csv"))) == 2 * NUM_USERS
    Path("users.txt").write_text("ü3\r\nnobody\r\n", encoding="utf-8")
    args += ["--users", "users.txt"]
    assert main(args) == 0
    assert "1 of them are unknown" in capsys.readouterr().out
    rows = read_rows(Path("out.csv"))
    assert [row[0] for row in rows] == ["ü3", "ü3", "nobody", "nobody"]

    for name, x in new_features().items():
        np.save(f"{name}.npy", x)
    Path("ids.txt").write_text("x\ny\nz\n")
    new = ["--new-items", "visual.npy", "text.npy", "ids.txt"]
    assert main([*args, *new, "--only-new", "true"]) == 0
    rows = read_rows(Path("out.csv"))
    assert {row[2] for row in rows} <= {"x", "y", "z"}
    assert len(rows) == 4
    for bad, match in (
        (["--new-items", "visual.npy"], "one file of item ids"),
        (["--only-new", "true"], "found no --new_items"),
        (["--users", "none.txt"], "none.txt: found no such file"),
        (["--k", "0"], "k: found 0"),
    ):
        assert main([*args, *bad]) == 1
        assert match in capsys.readouterr().err
    Path("users.txt").write_text("ü3\n\nü4\n", encoding="utf-8")
    assert main(args) == 1
    assert "line 2: found an empty line" in capsys.readouterr().err

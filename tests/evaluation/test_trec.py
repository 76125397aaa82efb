import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.evaluation.trec import write_qrels, write_trec_run
from tmfun_pyg.nn import LightGCN
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.retrieval import blocked_topk
from tmfun_pyg.utils.user_items import UserItems

SCORE = torch.tensor([[2.0, 1.5, 0.1], [-1e-9, -3.0, -torch.inf]])
ITEM = torch.tensor([[2, 0, 1], [1, 2, -1]])
USERS, ITEMS = np.array(["é", "007"]), np.array([10, -20, 30])


def test_run(tmp_path):
    path = tmp_path / "a.run"
    path.write_text("what was there")
    write_trec_run(path, USERS, ITEMS, SCORE, ITEM, "mine")
    assert path.read_text("utf-8") == (
        "é Q0 30 1 2.0 mine\n"
        "é Q0 10 2 1.5 mine\n"
        "é Q0 -20 3 0.1 mine\n"
        "007 Q0 -20 1 -1e-09 mine\n"
        "007 Q0 30 2 -3.0 mine\n"
    )
    assert os.listdir(tmp_path) == ["a.run"]


@pytest.mark.parametrize(
    ("dtype", "numpy"),
    [
        (torch.float32, np.float32),
        (torch.float64, np.float64),
        (torch.bfloat16, np.float32),
        (torch.float16, np.float32),
    ],
)
def test_scores_come_back(tmp_path, dtype, numpy):
    torch.manual_seed(0)
    base = torch.rand(1, 500, dtype=torch.float64) * 2 - 1
    score = (base * 10.0 ** torch.randint(-20, 4, (1, 500))).to(dtype)
    # Neighbors in their own type, too.
    near = torch.full((1, 5), 1.1, dtype=dtype)
    for i in range(1, 5):
        near[:, i] = near[:, i - 1] * (1 + torch.finfo(dtype).eps)
    score = torch.cat([score, near], dim=1).unique().flip(0).view(1, -1)
    item = torch.arange(score.size(1)).view(1, -1)
    path = tmp_path / "a.run"
    write_trec_run(path, [0], range(score.size(1)), score, item)
    read = [line.split()[4] for line in path.read_text().splitlines()]
    expected = score[0].to(torch.float64).numpy()
    assert np.array_equal(np.array(read).astype(numpy), expected)
    assert (np.diff(np.array(read).astype(np.float64)) < 0).all()


def test_qrels(tmp_path):
    dataset = SyntheticMultimodal(20, 30, {})
    data = dataset[0]
    store = data["user", "interacts", "item"]
    # User 1 has no training interaction.
    store.edge_index = torch.tensor([[0, 2], [0, 3]])
    store.val_edge_label_index = torch.tensor([[2, 0], [1, 3]])
    store.test_edge_label_index = torch.tensor([[2, 0, 1, 0], [0, 3, 2, 1]])
    path = tmp_path / "a.qrels"
    for dataset.data in (data, ToRecGraph()(data)):
        write_qrels(path, dataset)
        assert path.read_text() == "0 0 1 1\n0 0 3 1\n2 0 0 1\n"
        write_qrels(path, dataset, "val")
        assert path.read_text() == "0 0 3 1\n2 0 1 1\n"


def test_qrels_hold_raw_ids(tmp_path):
    dataset = SyntheticMultimodal(20, 30, {})
    dataset.user_ids = np.array([f"u{i}" for i in range(20)])
    dataset.item_ids = dataset.item_ids + 100
    path = tmp_path / "a.qrels"
    write_qrels(path, dataset, "val")
    user, item = dataset[0]["user", "item"].val_edge_label_index.tolist()
    expected = {f"u{u} 0 {i + 100} 1" for u, i in zip(user, item, strict=True)}
    assert set(path.read_text().splitlines()) == expected


RANX = """
import json
import sys

import ranx

run = ranx.Run.from_file(sys.argv[1], kind="trec")
qrels = ranx.Qrels.from_file(sys.argv[2], kind="trec")
names = sys.argv[3:]
ranx.evaluate(qrels, run, names, make_comparable=True)
scores = {name: dict(run.scores[name]) for name in names}
count = {user: len(items) for user, items in qrels.qrels.items()}
print(json.dumps([scores, count]))
"""


def test_same_metrics_as_ranx(tmp_path):
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed")
    dataset = SyntheticMultimodal(200, 120, {}, mean_interactions=25.0)
    data = dataset[0]
    store = data["user", "item"]
    # Not all have a training interaction.
    store.edge_index = store.edge_index[:, store.edge_index[0] > 20]
    torch.manual_seed(0)
    graph = ToRecGraph()(data)
    model = LightGCN.from_data(graph, channels=16)
    ks = (1, 5, 20)
    expected = evaluate(model, graph, "test", ks)

    dataset.user_ids = np.array([f"user/{i}" for i in range(200)])
    dataset.item_ids = np.array([f"日{i}" for i in range(120)])
    dataset.data = data
    seen = UserItems.from_edge_index(store.edge_index, 200)
    score, item = blocked_topk(model.scorer(graph), 20, seen=seen)
    run, qrels = str(tmp_path / "a.run"), str(tmp_path / "a.qrels")
    write_trec_run(run, dataset.user_ids, dataset.item_ids, score, item)
    write_qrels(qrels, dataset, "test")
    # In a process of its own, since to compile ranx takes a minute, and
    # whether to is decided once a process.
    out = subprocess.run(
        [sys.executable, "-c", RANX, run, qrels, *expected],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONUTF8": "1"},
        check=True,
        stdout=subprocess.PIPE,
    )
    scores, num_held_out = json.loads(out.stdout)

    trained, judged = (
        {f"user/{i}" for i in users.tolist()}
        for users in (store.edge_index[0], store.test_edge_label_index[0])
    )
    assert not judged <= trained
    assert num_held_out.keys() == judged & trained
    assert max(num_held_out.values()) > 5  # More than short lists can hold.
    for name, value in expected.items():
        per_user = scores[name]
        assert per_user.keys() == num_held_out.keys()
        metric, _, k = name.partition("@")
        if metric == "map":  # As the docstring says.
            per_user = {
                user: per_user[user] * count / min(int(k), count)
                for user, count in num_held_out.items()
            }
        mean = np.mean(list(per_user.values()))
        assert mean == pytest.approx(value, abs=1e-6), name


def change(**kwargs):
    arguments = {
        "user_ids": USERS,
        "item_ids": ITEMS,
        "score": SCORE,
        "item": ITEM,
    }
    return {**arguments, **kwargs}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (change(score=SCORE[:, :2]), r"of one shape \(got \[2, 2\] and"),
        (change(score=SCORE[0], item=ITEM[0]), "must be matrices"),
        (change(user_ids=["a"]), r"the users of 2 rows \(got 1\)"),
        (change(user_ids=["a", "a"]), "'user_ids' holds 'a' more than once"),
        (change(item_ids=["1", "b", 1]), "'item_ids' holds '1' more than"),
        (change(user_ids=["a", "b c"]), "'user_ids' holds 'b c'"),
        (change(user_ids=["a", ""]), "'user_ids' holds '', which is empty"),
        (change(item_ids=["a", "b", "c\u2003d"]), "'item_ids' holds 'c"),
        (change(item_ids=["a", "b"]), r"0 to 1, or -1 \(got -1 to 2\)"),
        (change(item=ITEM - 1), r"0 to 2, or -1 \(got -2 to 1\)"),
        (change(score=SCORE.flip(1)), "'score' holds NaN or infinity"),
        (change(score=SCORE * torch.nan), "'score' holds NaN or infinity"),
        (change(tag="a b"), "'tag' holds 'a b'"),
    ],
)
def test_bad_runs(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        write_trec_run(tmp_path / "a.run", **kwargs)
    assert os.listdir(tmp_path) == []


def test_bad_qrels(tmp_path):
    dataset = SyntheticMultimodal(20, 30, {})
    with pytest.raises(ValueError, match=r"'split' must be one of"):
        write_qrels(tmp_path / "a.qrels", dataset, "dev")
    dataset.item_ids = np.array(["a b"] * 30)
    with pytest.raises(ValueError, match="'item_ids' holds 'a b'"):
        write_qrels(tmp_path / "a.qrels", dataset)
    assert os.listdir(tmp_path) == []


def test_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.run"
    path.write_text("what was there")

    def fail(*args):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write_trec_run(path, USERS, ITEMS, SCORE, ITEM)
    assert os.listdir(tmp_path) == ["a.run"]
    assert path.read_text() == "what was there"

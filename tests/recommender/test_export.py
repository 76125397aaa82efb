import copy
import io
import json
import os
import sys

import numpy as np
import pytest
import torch
from dense_content import draw_parameters
from every_model import MODELS
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.datasets.item_table import empty_table
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.retrieval import EmbeddingScorer, blocked_topk

COLD_USER = NUM_USERS - 1  # Without a training interaction.
USER_IDS = np.array([f"user {i} é" for i in range(NUM_USERS)])
ITEM_IDS = np.arange(NUM_ITEMS) * 10 - 20
BASE = {
    "manifest.json",
    "user_embedding.npy",
    "item_embedding.npy",
    "user_ids.txt",
    "item_ids.txt",
    "seen.npz",
    "neighbors.npz",
    "known.npy",
    "popularity.npy",
    "fallback.npy",
}


class ToyDataset:
    """The toy data with raw ids."""

    modalities = ("m0", "m1")

    def __init__(self, user_ids=USER_IDS, item_ids=ITEM_IDS, missing=True):
        self.user_ids, self.item_ids = user_ids, item_ids
        self.data = make_data(2, missing)
        self.item_table = empty_table(len(item_ids))

    def __getitem__(self, index):
        return copy.copy(self.data)


def make(**kwargs):
    dataset = ToyDataset(**kwargs)
    model = TMFUN.from_data(dataset[0], channels=4)
    model.fit(ToRecGraph()(dataset[0]))
    draw_parameters(model)
    return Recommender(model, dataset)


def add_splits(recommender):
    """Adds an item of validation or test to some users, the cold one too."""
    store = recommender.dataset.data["user", "interacts", "item"]
    free = torch.ones(NUM_USERS, NUM_ITEMS)
    free[tuple(store.edge_index)] = 0
    held_out = torch.stack([torch.arange(NUM_USERS), free.argmax(dim=1)])
    store.val_edge_label_index = held_out[:, 3:]
    store.test_edge_label_index = held_out[:, :3]
    return held_out.t().tolist()


def ranked(recommender, k, user=None):
    scorer, seen = recommender.scorer, recommender.seen
    return blocked_topk(scorer, k, user, seen)


@pytest.fixture
def recommender():
    return make()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "export"


def names(folder):
    return set(os.listdir(folder))


def test_folder(recommender, folder):
    held_out = add_splits(recommender)
    manifest = recommender.export(folder)
    assert names(folder) == BASE
    assert recommender.model.training
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert set(manifest["files"]) == BASE - {"manifest.json"}
    assert manifest["num_users"] == NUM_USERS
    assert manifest["num_items"] == NUM_ITEMS
    assert manifest["channels"] == 4 + 3 + 4  # With the content score's.
    assert manifest["metric"] == "inner_product"
    assert manifest["num_seen"] == recommender.seen.col.numel()

    lines = (folder / "user_ids.txt").read_text(encoding="utf-8").split("\n")
    assert lines == [*USER_IDS, ""]
    with np.load(folder / "seen.npz", allow_pickle=False) as seen:
        rowptr, col = seen["seen_rowptr"], seen["seen_col"]
    user, item = make_data(2, True)["user", "interacts", "item"].edge_index
    for u in range(NUM_USERS):
        mine = col[rowptr[u] : rowptr[u + 1]].tolist()
        of_splits = [i for other, i in held_out if other == u]
        assert len(of_splits) == 1
        assert mine == sorted(item[user == u].tolist() + of_splits)


def test_recommends_as_the_model_does(recommender, folder):
    recommender.export(folder)
    found = load_exported(folder)
    user_emb, item_emb = recommender.model.eval()(recommender.data)
    assert torch.equal(found.user_emb, user_emb)
    assert torch.equal(found.item_emb, item_emb)
    assert found.user_ids.tolist() == USER_IDS.tolist()
    assert found.item_ids.tolist() == ITEM_IDS.tolist()
    assert found.item_ids.dtype == np.int64
    for args in (
        (None, 3),
        ([USER_IDS[COLD_USER], "nobody", USER_IDS[1]], NUM_ITEMS),
        (USER_IDS[2:], 2, ITEM_IDS[[4, 1]], False),
    ):
        expected, lists = recommender.recommend(*args), found.recommend(*args)
        for mine, other in zip(lists, expected, strict=True):
            assert np.array_equal(mine, other)
        assert not lists.known[lists.user_id == USER_IDS[COLD_USER]].any()


def test_cold_user(recommender, folder):
    """The popular items, but those of validation and test, and marked."""
    held_out = add_splits(recommender)
    recommender.export(folder, ["scorer"], k=NUM_ITEMS)
    _, item = recommender.dataset[0]["user", "interacts", "item"].edge_index
    count = np.bincount(item, minlength=NUM_ITEMS)
    order = np.lexsort((np.arange(NUM_ITEMS), -count))
    order = order[order != held_out[COLD_USER][1]]
    found = load_exported(folder).recommend([USER_IDS[COLD_USER]], NUM_ITEMS)
    assert not found.known[0]
    assert found.lists() == [ITEM_IDS[order].tolist()]
    scorer = torch.export.load(folder / "scorer.pt2").module()
    value, item, known = scorer(torch.tensor([COLD_USER, 0]))
    assert known.tolist() == [False, True]
    assert value[0, :-1].tolist() == count[order].tolist()
    assert sorted(item[0, :-1].tolist()) == sorted(order.tolist())
    assert item[0, -1] == -1


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes(recommender, folder, mask):
    """All files of an export are for the same people."""
    pytest.importorskip("safetensors")
    pytest.importorskip("faiss")
    before = os.umask(mask)
    try:
        recommender.export(folder, ["safetensors", "faiss", "scorer"], k=2)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o666 & ~mask}


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_safetensors(cls, folder):
    safetensors = pytest.importorskip("safetensors.torch")
    dataset = ToyDataset(missing=False)
    recommender = Recommender(cls.from_data(dataset[0]), dataset)
    recommender.export(folder, ["safetensors"])
    files = BASE if cls is TMFUN else BASE - {"neighbors.npz"}
    assert names(folder) == files | {"embeddings.safetensors"}
    found = safetensors.load_file(folder / "embeddings.safetensors")
    user_emb, item_emb = recommender.model.eval()(recommender.data)
    assert set(found) == {"user_embedding", "item_embedding"}
    assert torch.equal(found["user_embedding"], user_emb)
    assert torch.equal(found["item_embedding"], item_emb)
    assert torch.equal(load_exported(folder).user_emb, user_emb)


@pytest.mark.parametrize("index", ["flat", "ivf", "hnsw"])
def test_faiss(recommender, folder, index):
    faiss = pytest.importorskip("faiss")
    manifest = recommender.export(folder, ["faiss"], index=index)
    assert manifest["index"]["kind"] == index
    # With so few items, all three compare with all of them:
    if index != "flat":
        assert manifest["index"][f"recall@{NUM_ITEMS}"] == 1.0
    built = faiss.read_index(str(folder / "items.faiss"))
    assert built.metric_type == faiss.METRIC_INNER_PRODUCT
    found = load_exported(folder)
    # As a server does it: search for more, and leave out what was seen.
    score, item = built.search(found.user_emb.numpy(), NUM_ITEMS)
    alone = EmbeddingScorer(found.user_emb, found.item_emb)
    expected_score, expected = blocked_topk(
        alone, NUM_ITEMS, seen=recommender.seen
    )
    for u in range(NUM_USERS):
        seen = found.seen.edges_of(torch.tensor([u]))[1].numpy()
        is_new = ~np.isin(item[u], seen)
        assert is_new.sum() == (expected[u] >= 0).sum() > 0
        kept = slice(int(is_new.sum()))
        assert item[u][is_new].tolist() == expected[u][kept].tolist()
        np.testing.assert_allclose(
            score[u][is_new], expected_score[u][kept].numpy(), rtol=1e-5
        )


@pytest.mark.filterwarnings("error:No complete tensor")
def test_scorer(recommender, folder):
    manifest = recommender.export(folder, ["scorer"], k=NUM_ITEMS)
    assert manifest["scorer"] == {"k": NUM_ITEMS}
    scorer = torch.export.load(folder / "scorer.pt2").module()
    # The user without any seen item alone, too, and users twice:
    for user in ([6], [0], [3, 3], [5, 6, 1], list(range(NUM_USERS)) * 3):
        user = torch.tensor(user)
        value, item, known = scorer(user)
        assert known.tolist() == [u != COLD_USER for u in user]
        expected = ranked(recommender, NUM_ITEMS, user)
        is_alike = known.view(-1, 1)
        torch.testing.assert_close(
            value.where(is_alike, 0), expected[0].where(is_alike, 0)
        )
        assert torch.equal(
            item.where(is_alike, 0), expected[1].where(is_alike, 0)
        )
    assert (item == -1).any()  # Fewer items were left than asked for.


def test_all_formats_with_integer_ids(folder):
    pytest.importorskip("safetensors")
    pytest.importorskip("faiss")
    ids = {"user_ids": np.arange(NUM_USERS), "item_ids": ITEM_IDS.astype(str)}
    formats = ["faiss", "safetensors", "scorer"]
    manifest = make(**ids).export(str(folder), formats, k=2)
    assert {"faiss", "safetensors", "torch"} < set(manifest["versions"])
    assert names(folder) == set(manifest["files"]) | {"manifest.json"}
    assert manifest["id_types"] == {"user": "int", "item": "str"}
    found = load_exported(str(folder))
    assert found.user_ids.tolist() == list(range(NUM_USERS))
    assert found.item_ids.tolist() == ITEM_IDS.astype(str).tolist()


def test_existing_folder(recommender, folder, monkeypatch):
    recommender.export(folder, ["scorer"], k=1)
    before = (folder / "item_embedding.npy").read_bytes()
    with torch.no_grad():
        recommender.model.item_embedding.weight.add_(1.0)
    recommender = Recommender(recommender.model, recommender.dataset)
    with pytest.raises(ValueError, match="already exists"):
        recommender.export(folder)
    assert (folder / "item_embedding.npy").read_bytes() == before

    def fail(*args, **kwargs):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        with pytest.raises(OSError, match="no space left"):
            recommender.export(folder, overwrite=True)
    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(
            os,
            "replace",
            lambda a, b: fail() if str(a).endswith(".part") else replace(a, b),
        )
        with pytest.raises(OSError, match="no space left"):
            recommender.export(folder, overwrite=True)
    assert (folder / "item_embedding.npy").read_bytes() == before
    assert names(folder.parent) == {"export"}

    recommender.export(folder, overwrite=True)
    assert names(folder) == BASE
    assert torch.equal(
        load_exported(folder).item_emb, recommender.scorer.item_emb
    )
    assert names(folder.parent) == {"export"}

    (folder / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=r"must hold nothing but .*'notes.txt'"
    ):
        recommender.export(folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["save", "savez"])
def test_failure_leaves_nothing_behind(recommender, folder, monkeypatch, name):
    def fail(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np, name, fail)
    with pytest.raises(OSError, match="no space left"):
        recommender.export(folder)
    assert names(folder.parent) == set()


def test_bad_arguments(recommender, folder):
    for broken in ("b\nc", "b\rc"):
        ids = np.array(["a", broken, *"defgh"])
        with pytest.raises(ValueError, match=r"'user_ids' .*breaks.*b"):
            make(user_ids=ids).export(folder)
    for kwargs, match in (
        ({"formats": ["onnx"]}, r"'formats' must be .*onnx"),
        ({"formats": "faiss"}, "'formats' must be a list"),
        ({"index": "tree"}, r"'index' must be one of flat.*tree"),
        ({"formats": ["scorer"], "k": 7}, r"'k' must be from 1 to the 6"),
        ({"formats": ["scorer"], "k": 0}, "got 0"),
        ({"k": 3.5}, r"'k' must be a whole number \(got 3.5\)"),
        ({"index": "hnsw"}, r"'index' must come with 'faiss' .*got 'hnsw'"),
    ):
        with pytest.raises(ValueError, match=match):
            recommender.export(folder, **kwargs)
    with torch.no_grad():
        recommender.model.user_embedding.weight[1] = torch.nan
    recommender = Recommender(recommender.model, recommender.dataset)
    with pytest.raises(ValueError, match="has the training diverged"):
        recommender.export(folder)
    assert names(folder.parent) == set()


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [("safetensors", "safetensors.torch", "export"), ("faiss", "faiss", "ann")],
)
def test_missing_package(
    recommender, folder, monkeypatch, package, name, extra
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"tmfun-pyg\[{extra}\]"):
        recommender.export(folder, [package])
    assert names(folder.parent) == set()


def test_damaged_files(recommender, folder):
    recommender.export(folder)

    def replaced(name, content):
        path = folder / name
        before = path.read_bytes()
        content(path) if callable(content) else path.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load_exported(folder)
        path.write_bytes(before)

    replaced("manifest.json", b"{}")
    replaced("manifest.json", b"[")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["format_version"] = 99
    replaced("manifest.json", json.dumps(manifest).encode())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ValueError, match=r"format_version must be 4 \(got 99\)"
    ):
        load_exported(folder)
    manifest["format_version"] = 4
    (folder / "manifest.json").write_text(json.dumps(manifest))
    replaced("item_ids.txt", b"1\n2\n")
    replaced("item_ids.txt", b"1\n2\n3\n4\n5\n6\n7")
    replaced("item_ids.txt", b"1\n2\n3\n4\n5\nsix\n")
    replaced("user_ids.txt", b"\xff\n")
    replaced("user_embedding.npy", b"")
    replaced("user_embedding.npy", lambda p: np.save(p, np.zeros((7, 3))))
    pickled = np.array([None] * 7)
    replaced("user_embedding.npy", lambda p: np.save(p, pickled))
    replaced("known.npy", lambda p: np.save(p, np.ones(7)))
    replaced("popularity.npy", lambda p: np.save(p, np.ones(7, np.float32)))
    # The header of an array of 98 TiB:
    about = {"descr": "<f4", "fortran_order": False, "shape": (7, 2**42)}
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, about)
    replaced("user_embedding.npy", huge.getvalue())
    replaced("seen.npz", b"no archive")
    arrays = dict(np.load(folder / "seen.npz"))
    for name, value in (("seen_rowptr", -1), ("seen_col", NUM_ITEMS)):
        broken = {key: array.copy() for key, array in arrays.items()}
        broken[name][-1] = value
        replaced("seen.npz", lambda p, b=broken: np.savez(p, **b))
    arrays = dict(np.load(folder / "neighbors.npz"))
    assert arrays["weight"].any()
    for name, value in (
        ("neighbor", NUM_ITEMS),
        ("weight", np.nan),
        ("trained_rowptr", -1),
        ("trained_col", -1),
    ):
        broken = {key: array.copy() for key, array in arrays.items()}
        broken[name][-1] = value
        replaced("neighbors.npz", lambda p, b=broken: np.savez(p, **b))
    broken = {**arrays, "weight": arrays["weight"][:, 1:]}
    replaced("neighbors.npz", lambda p, b=broken: np.savez(p, **b))
    os.remove(folder / "seen.npz")
    with pytest.raises(ValueError, match=r"seen\.npz"):
        load_exported(folder)

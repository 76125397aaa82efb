import copy
import importlib
import os
import pickle
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.transforms import BaseTransform, Compose, ToUndirected

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.datasets._mmrec import read_inter
from tmfun_pyg.transforms import AddItems, FeatureGraph

TRAIN = [[0, 0, 1, 1, 2, 2], [0, 1, 2, 4, 0, 3]]


def test_content(make_raw):
    root = make_raw()
    dataset = MultimodalRecDataset(root, "toy")
    assert len(dataset) == 1
    assert str(dataset) == "MultimodalRecDataset()"
    assert dataset.modalities == ["acoustic", "visual"]
    assert dataset.user_ids.tolist() == [0, 1, 2]
    assert dataset.item_ids.tolist() == [0, 1, 2, 3, 4]
    assert dataset.num_duplicates == 0

    data = dataset[0]
    data.validate(raise_on_error=True)
    assert data["user"].num_nodes == 3
    assert data["item"].num_nodes == 5
    store = data["user", "interacts", "item"]
    assert store.edge_index.tolist() == TRAIN
    assert store.edge_index.is_contiguous()
    assert store.val_edge_label_index.tolist() == [[0, 1], [4, 0]]
    assert store.test_edge_label_index.tolist() == [[0, 2], [3, 1]]
    assert data["item", "rev_interacts", "user"].edge_index.tolist() == [
        [0, 0, 1, 2, 3, 4],
        [0, 2, 0, 1, 2, 1],
    ]
    for name in ("acoustic", "visual"):
        x = data["item"][f"x_{name}"]
        assert x.dtype == torch.float32
        raw = np.load(root / "toy" / f"{name}_feat.npy")
        assert np.array_equal(x.numpy(), raw.astype(np.float32))
        assert f"mask_{name}" not in data["item"]


@pytest.mark.parametrize("modalities", [["visual"], ["visual", "acoustic"]])
def test_chosen_modalities(make_raw, modalities):
    dataset = MultimodalRecDataset(make_raw(), "toy", modalities)
    assert dataset.modalities == modalities
    features = [key for key in dataset[0]["item"] if key.startswith("x_")]
    assert features == [f"x_{name}" for name in modalities]


def test_ten_modalities(make_raw):
    features = {f"m{i}": np.full((5, 2), i + 1.0) for i in range(10)}
    dataset = MultimodalRecDataset(make_raw(features=features), "toy")
    assert dataset.modalities == [f"m{i}" for i in range(10)]
    assert dataset[0]["item"].x_m9.tolist() == [[10.0, 10.0]] * 5


def test_no_modalities(make_raw):
    root = make_raw(features={})
    for modalities in (None, []):
        graphs = FeatureGraph(k=2)
        dataset = MultimodalRecDataset(
            root, "toy", modalities, pre_transform=graphs
        )
        assert dataset.modalities == []
        assert dataset[0]["user", "item"].edge_index.tolist() == TRAIN
        assert dataset[0].metadata()[0] == ["user", "item"]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64])
def test_multi_hot_features(make_raw, dtype):
    matrix = np.eye(5, dtype=dtype)
    root = make_raw(features={"genre": matrix})
    x = MultimodalRecDataset(root, "toy")[0]["item"].x_genre
    assert torch.equal(x, torch.eye(5))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_bad_features_of_raw_ids(make_raw, value):
    matrix = np.ones((5, 2))
    matrix[[1, 3]] = value
    root = make_raw(features={"visual": matrix})
    rows = "".join(f"sku-{index}\t{index}\n" for index in (4, 3, 2, 1, 0))
    (root / "toy" / "i_id_mapping.csv").write_text(f"raw\titemID\n{rows}")
    with pytest.raises(ValueError, match=r"2 item\(s\): sku-1, sku-3\).*mask"):
        MultimodalRecDataset(root, "toy")


def test_three_places(make_raw, tmp_path, cache):
    make_raw(folder="a/toy/raw")
    dataset = MultimodalRecDataset(tmp_path / "a", "toy")
    processed = tmp_path / "a" / "toy" / "processed"
    assert list(processed.iterdir()) == [Path(dataset.processed_paths[0])]
    assert not cache.exists()

    make_raw(folder="b/toy")
    before = set((tmp_path / "b").rglob("*"))
    for root in (tmp_path / "b", tmp_path / "b" / "toy"):
        dataset = MultimodalRecDataset(str(root), "toy")
        assert dataset[0]["user", "item"].edge_index.tolist() == TRAIN
        assert Path(dataset.processed_dir).parent == cache
    assert set((tmp_path / "b").rglob("*")) == before
    # Both roots stand for the same folder.
    assert len(list(cache.rglob("*.pt"))) == 1

    # `raw` wins over files beside it.
    make_raw(rows="0 0 0\n0 1 1\n0 2 2\n", features={}, folder="a/toy")
    dataset = MultimodalRecDataset(tmp_path / "a", "toy")
    assert dataset[0]["user"].num_nodes == 3


def test_cache(make_raw, monkeypatch):
    root = make_raw()
    first = MultimodalRecDataset(root, "toy")
    with monkeypatch.context() as context:
        context.setattr(MultimodalRecDataset, "process", None)
        again = MultimodalRecDataset(root, "toy")
        with pytest.raises(TypeError):
            MultimodalRecDataset(root, "toy", force_reload=True)
    assert again[0].to_dict().keys() == first[0].to_dict().keys()
    assert torch.equal(again[0]["item"].x_visual, first[0]["item"].x_visual)
    for name in ("user_ids", "item_ids"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    assert again.modalities == first.modalities
    assert again.num_duplicates == 0


def test_changed_files_are_read_anew(make_raw):
    root = make_raw()
    MultimodalRecDataset(root, "toy")
    path = root / "toy" / "visual_feat.npy"
    np.save(path, np.load(path) + 1)
    os.utime(path, ns=(0, 12345))
    data = MultimodalRecDataset(root, "toy")[0]
    assert np.array_equal(data["item"].x_visual, np.load(path))


def test_transforms(make_raw):
    root = make_raw()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = MultimodalRecDataset(root, "toy")
        graphs = [
            MultimodalRecDataset(root, "toy", pre_transform=FeatureGraph(k))
            for k in (1, 2)
        ]
    edge_type = ("item", "similar_visual", "item")
    assert edge_type not in plain[0].edge_types
    assert [g[0][edge_type].edge_index.size(1) for g in graphs] == [5, 10]
    dataset = MultimodalRecDataset(
        root, "toy", transform=Compose([FeatureGraph(3), ToUndirected()])
    )
    assert dataset[0][edge_type].edge_index.size(1) >= 15
    assert edge_type not in dataset._data.edge_types


def test_fingerprint_is_of_the_data_before_transform(make_raw):
    root = make_raw()
    calls = []

    def transform(data):
        calls.append(data)
        data["item"].x_visual = data["item"].x_visual + 1
        return data

    plain = MultimodalRecDataset(root, "toy")
    dataset = MultimodalRecDataset(root, "toy", transform=transform)
    assert dataset.fingerprint == plain.fingerprint
    assert calls == []
    # Other features are other data.
    path = root / "toy" / "visual_feat.npy"
    np.save(path, np.load(path) + 1)
    os.utime(path, ns=(0, 12345))
    other = MultimodalRecDataset(root, "toy").fingerprint
    assert other != plain.fingerprint


def test_nameless_pre_transform_is_never_served_stale(make_raw):
    root = make_raw()

    def mark(value):
        def pre_transform(data):
            data["user"].mark = torch.tensor(value)
            return data

        return pre_transform

    for value in (1, 2):
        dataset = MultimodalRecDataset(root, "toy", pre_transform=mark(value))
        assert int(dataset[0]["user"].mark) == value


class Mark(BaseTransform):
    """Adds a value of which its name says nothing."""

    def __init__(self, value):
        self.value = value

    def forward(self, data):
        data["user"].mark = torch.as_tensor(self.value)
        return data

    def __repr__(self):
        return "Mark()"


@pytest.mark.parametrize(
    "values",
    [
        (1, 2),
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (np.zeros(2), np.ones(2)),
        (np.zeros(2), np.zeros(2, np.float32)),
    ],
)
def test_pre_transforms_of_one_name(make_raw, values):
    root = make_raw()

    def make(value):
        pre_transform = Compose([FeatureGraph(2), Mark(value)])
        return MultimodalRecDataset(root, "toy", pre_transform=pre_transform)

    for value in values:
        found = make(value)[0]["user"].mark
        assert torch.equal(found, torch.as_tensor(value))
        assert found.dtype == torch.as_tensor(value).dtype


def test_other_features_of_added_items(make_raw, monkeypatch):
    """Their names are the same; what is the same is not processed again."""
    root = make_raw()
    for _ in range(2):
        for value in (1.0, -1.0):
            x = {"visual": torch.full((1, 4), value)}
            dataset = MultimodalRecDataset(
                root, "toy", pre_transform=Compose([AddItems(x, k=2)])
            )
            assert dataset[0]["item"].x_visual[-1].tolist() == [value] * 4
        monkeypatch.setattr(MultimodalRecDataset, "process", None)


def test_pre_transforms_that_hang_on_more(make_raw, monkeypatch):
    """On attributes of their classes and globals, and without a state."""
    root = make_raw()
    own = type("Own", (Mark,), {"__getstate__": lambda self: {}})
    graph = FeatureGraph(2)
    for value in (1, 2):
        dataset = MultimodalRecDataset(root, "toy", pre_transform=own(value))
        assert int(dataset[0]["user"].mark) == value
        monkeypatch.setattr(own, "forward", Mark(value + 2).forward)
        for transform in (own(0), Compose([graph, own(0)])):
            dataset = MultimodalRecDataset(root, "toy", pre_transform=transform)
            assert int(dataset[0]["user"].mark) == value + 2
        monkeypatch.undo()
        # In place of a method of PyG's:
        graph.forward = Mark(value).forward
        dataset = MultimodalRecDataset(root, "toy", pre_transform=graph)
        assert int(dataset[0]["user"].mark) == value


@pytest.mark.parametrize("in_place", [False, True])
def test_other_files_of_the_same_size_and_time(make_raw, in_place):
    """As `cp -p` and rsync leave them."""
    root = make_raw()
    path = root / "toy" / "visual_feat.npy"
    before, matrix = path.stat(), np.load(path)
    for sign in (1, -1):
        if not in_place:
            path.unlink()
        np.save(path, sign * matrix)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        x = MultimodalRecDataset(root, "toy")[0]["item"].x_visual
        assert np.array_equal(x, sign * matrix.astype(np.float32))


def test_other_code_of_a_pre_transform(make_raw, tmp_path, monkeypatch):
    root = make_raw()
    monkeypatch.syspath_prepend(tmp_path)
    code = """
        class Shift:
            def __call__(self, data):
                data["item"].x_visual = data["item"].x_visual + {value}
                return data

            def __repr__(self):
                return "Shift()"
        """
    plain = MultimodalRecDataset(root, "toy")[0]["item"].x_visual
    for value in (1, 2):
        path = tmp_path / "own_transforms.py"
        path.write_text(textwrap.dedent(code.format(value=value)))
        os.utime(path, (value, value))  # Python's own cache goes by it.
        module = importlib.import_module("own_transforms")
        dataset = MultimodalRecDataset(
            root, "toy", pre_transform=module.Shift()
        )
        assert torch.equal(dataset[0]["item"].x_visual, plain + value)
        del sys.modules["own_transforms"]


def test_copies_keep_ids(make_raw):
    dataset = MultimodalRecDataset(make_raw(), "toy")
    for other in (
        copy.copy(dataset),
        dataset.copy(),
        pickle.loads(pickle.dumps(dataset)),
    ):
        assert other.item_ids.tolist() == [0, 1, 2, 3, 4]
        assert other[0]["user", "item"].edge_index.tolist() == TRAIN


def test_duplicates(make_raw):
    # (0, 0) in training and test, (0, 4) twice in validation.
    root = make_raw("0 4 1\n0 0 2\n0 0 0\n1 1 0\n0 4 1\n2 2 2\n2 3 0\n")
    with pytest.warns(UserWarning, match=r"toy.inter' has 2 duplicate"):
        dataset = MultimodalRecDataset(root, "toy")
    store = dataset[0]["user", "item"]
    assert store.edge_index.tolist() == [[0, 1, 2], [0, 1, 3]]
    assert store.val_edge_label_index.tolist() == [[0], [4]]
    assert store.test_edge_label_index.tolist() == [[2], [2]]
    assert dataset.num_duplicates == 2
    assert MultimodalRecDataset(root, "toy").num_duplicates == 2


def test_columns_by_name(make_raw):
    rows = "0 0 a 5.0 0\n1 1 b nan 1\n2 0 c  0\n4 2 d - 2\n3 0 e é 0\n"
    root = make_raw(rows, header="itemID\tx_label\tz\trating\tuserID")
    store = MultimodalRecDataset(root, "toy")[0]["user", "item"]
    assert store.edge_index.tolist() == [[0, 0, 0], [0, 2, 3]]
    assert store.val_edge_label_index.tolist() == [[1], [1]]
    assert store.test_edge_label_index.tolist() == [[2], [4]]


def test_windows_lines(make_raw):
    root = make_raw()
    path = root / "toy" / "toy.inter"
    text = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(text + b"\r\n")
    store = MultimodalRecDataset(root, "toy")[0]["user", "item"]
    assert store.edge_index.tolist() == TRAIN


def test_zero_rows_masked(make_raw):
    matrix = np.ones((5, 2), dtype=np.float32)
    matrix[[1, 3]] = 0
    features = {"visual": matrix, "acoustic": np.ones((5, 2))}
    root = make_raw(features=features)
    with pytest.raises(ValueError, match=r"2 item\(s\): 1, 3\).*'mask'"):
        MultimodalRecDataset(root, "toy")
    item = MultimodalRecDataset(root, "toy", zero_rows="mask")[0]["item"]
    assert item.mask_visual.tolist() == [True, False, True, False, True]
    assert "mask_acoustic" not in item


def nan_at(*items):
    matrix = np.ones((5, 2))
    matrix[list(items), 1] = np.nan
    return {"visual": matrix}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"rows": "0 0 0\n-1 1 1\n"}, "line 3, column 'userID' must .*'-1'"),
        ({"rows": "0 0 0\n1 1.0 1\n"}, "line 3, column 'itemID' must .*'1.0'"),
        ({"rows": "0 0 0\n1  1\n"}, "line 3, column 'itemID' must .*''"),
        ({"rows": f"0 {10**30} 0\n"}, "line 2, column 'itemID'"),
        ({"rows": "0 0 0\n0 1 3\n"}, "line 3, column 'x_label' must .*'3'"),
        ({"rows": "0 0 0\n0 1 train\n"}, "column 'x_label' must .*'train'"),
        ({"rows": "0 0 0\n0 1\n0 2 0\n"}, "line 3, column 'x_label' .*''"),
        ({"rows": "0 0 0\n\n0 2 0\n"}, "line 3, column 'userID' .*''"),
        ({"rows": "0 0 0 9\n"}, "toy.inter' must have 3 fields .*got more"),
        ({"rows": "0 0 0\n0 1 1 9\n"}, "toy.inter' .*3 fields in line 3"),
        ({"rows": ""}, "toy.inter' must have rows"),
        (
            {"header": "userID\titemID\tx_label\tx_label"},
            "toy.inter' must have columns of distinct names",
        ),
        (
            {"header": "userID,itemID,x_label"},
            r"must have 1 fields .*\['userID,itemID,x_label'\]",
        ),
        (
            {"header": "userID\titemID\tlabel"},
            r"line 1 must .*'x_label'\] \(got",
        ),
        (
            {"rows": "0 0 0\n0 4 2\n"},
            "toy.inter' must have at least one validation interaction",
        ),
        # A split that holds nothing but repetitions.
        ({"rows": "0 0 0\n0 0 1\n0 4 2\n"}, "at least one validation "),
        (
            {"rows": "0 0 0\n0 1 1\n0 7 2\n"},
            r"line 4, column 'itemID' .* 5 \(got 7\)",
        ),
        (
            {"rows": "0 0 0\n0 1 1\n0 3 2\n"},
            r"acoustic_feat.npy' must have 4 rows, .*toy.inter' \(got 5\)",
        ),
        (
            {"rows": "0 0 0\n0 1 1\n900 4 2\n"},
            r"line 4, column 'userID' must be below 5 \(got 900\): raw ids",
        ),
        (
            {"features": nan_at(1, 3)},
            r"visual_feat.npy' must be finite .*2 item\(s\): 1, 3\); mend",
        ),
        (
            {"features": {"visual": np.full((5, 2), 1e300)}},
            r"visual_feat.npy' must be finite .*5 item\(s\): 0, 1, 2, 3, 4",
        ),
        (
            {"features": {"visual": np.ones(5)}},
            r"visual_feat.npy' must have the shape .*\[5\]",
        ),
        (
            {"features": {"visual": np.ones((5, 0))}},
            r"visual_feat.npy' must have the shape .*\[5, 0\]",
        ),
        (
            {"features": {"visual": np.full((5, 2), "1")}},
            "visual_feat.npy' must hold numbers .*<U1",
        ),
        (
            {"features": {"visual": np.array([[1.0, None]] * 5)}},
            "visual_feat.npy' must be a complete .*Python objects",
        ),
        ({"features": {"vis.ual": np.ones((5, 2))}}, r"\(got 'vis.ual'\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*duplicate interaction")
def test_bad_content(make_raw, nothing_written, raw, message):
    root = make_raw(**raw)
    nothing_written()
    with pytest.raises(ValueError, match=message) as info:
        MultimodalRecDataset(root, "toy")
    assert "toy" in str(info.value) or "modalities" in str(info.value)


def test_large_item_id_without_features(make_raw, nothing_written):
    root = make_raw("0 0 0\n0 1 1\n0 99 2\n", features={})
    nothing_written()
    with pytest.raises(ValueError, match=r"column 'itemID' must .*99"):
        MultimodalRecDataset(root, "toy", modalities=[])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_inter(make_raw, nothing_written, content):
    root = make_raw()
    (root / "toy" / "toy.inter").write_bytes(content)
    nothing_written()
    with pytest.raises(ValueError, match=r"toy\.inter' cannot be read: No col"):
        MultimodalRecDataset(root, "toy")


@pytest.mark.parametrize("size", [0, 3, 60, 140])
def test_truncated_features(make_raw, nothing_written, size):
    root = make_raw()
    path = root / "toy" / "visual_feat.npy"
    path.write_bytes(path.read_bytes()[:size])
    nothing_written()
    with pytest.raises(ValueError, match=r"visual_feat\.npy' must be a com"):
        MultimodalRecDataset(root, "toy")


def test_archive_for_features(make_raw, nothing_written):
    root = make_raw()
    with open(root / "toy" / "visual_feat.npy", "wb") as f:
        np.savez(f, np.ones((5, 2)))
    nothing_written()
    with pytest.raises(
        ValueError, match=r"visual_feat\.npy' must be .*an archive"
    ):
        MultimodalRecDataset(root, "toy")


def test_missing_files(make_raw, nothing_written):
    root = make_raw()
    nothing_written()
    with pytest.raises(ValueError, match=r"missing: \[.*text_feat.npy'\]"):
        MultimodalRecDataset(root, "toy", ["visual", "text"])
    with pytest.raises(ValueError, match=r"missing: \[.*other.inter'\]"):
        MultimodalRecDataset(root, "other")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"modalities": "visual"}, "'modalities' must be .*'visual'"),
        ({"modalities": ["visual"] * 2}, "must have each name once"),
        ({"zero_rows": "keep"}, "'zero_rows' must be .*'keep'"),
        ({"pre_transform": lambda data: None}, "must return .*NoneType"),
    ],
)
def test_bad_arguments(make_raw, nothing_written, kwargs, message):
    root = make_raw()
    nothing_written()
    with pytest.raises(ValueError, match=message):
        MultimodalRecDataset(root, "toy", **kwargs)


def test_place_that_cannot_be_written(make_raw, cache, nothing_written):
    root = make_raw()
    cache.write_text("a file where the folder should be")
    nothing_written()
    with pytest.raises(OSError, match=r"cannot be written: .*TMFUN_CACHE"):
        MultimodalRecDataset(root, "toy")


def test_full_disk(make_raw, cache):
    resource = pytest.importorskip("resource")
    root = make_raw(features={"visual": np.ones((5, 10_000))})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="cannot be written"):
            MultimodalRecDataset(root, "toy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    MultimodalRecDataset(root, "toy")


def test_damaged_processed_file(make_raw):
    root = make_raw()
    path = Path(MultimodalRecDataset(root, "toy").processed_paths[0])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        ValueError, match=r"cannot be read: .*; delete it to process"
    ):
        MultimodalRecDataset(root, "toy")
    dataset = MultimodalRecDataset(root, "toy", force_reload=True)
    assert dataset[0]["user"].num_nodes == 3


def test_reads_a_large_file(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, [30_000, 20_000, 3], (300_000, 3))
    path = tmp_path / "large.inter"
    lines = "\n".join(f"{u}\t{i}\t{x}" for u, i, x in rows.tolist())
    path.write_text(f"userID\titemID\tx_label\n{lines}\n")
    inter = read_inter(str(path))
    assert np.array_equal(np.stack(inter, axis=1), rows)

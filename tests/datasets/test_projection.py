from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.datasets import (
    MultimodalRecDataset,
    features,
    prepare,
    projection,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

from_interactions = MultimodalRecDataset.from_interactions
NUM_ITEMS, NUM_FEATURES = 40, 24
ITEMS = [f"i{item:02}" for item in range(NUM_ITEMS)]


def make_log() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(ITEMS) for _ in range(6)]
    users = np.repeat([f"u{user:02}" for user in range(30)], 8)
    return pd.DataFrame({"user_id": users, "item_id": np.concatenate(chosen)})


def draw(rank: int, noise: float, rows: int = NUM_ITEMS) -> np.ndarray:
    """Rows of different scales that are mostly of a low rank."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, NUM_FEATURES))
    x += noise * rng.normal(size=x.shape) + 0.5
    return x * rng.uniform(0.1, 10, size=(rows, 1))


def fit(x: np.ndarray, channels: int) -> np.ndarray:
    used = np.ones(len(x), dtype=bool)
    return projection.fit_projection(x, used, channels, "x").numpy()


def test_exact_directions() -> None:
    x = draw(rank=6, noise=0.1, rows=300)
    found = fit(x, 7)
    assert found.dtype == np.float32
    assert found.T @ found == pytest.approx(np.eye(7), abs=1e-6)
    rows = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    _, _, direction = np.linalg.svd(rows)
    expected = [*direction[:6], np.ones(NUM_FEATURES) / NUM_FEATURES**0.5]
    # The cosines of the angles between the two spaces:
    cosine = np.linalg.svd(np.array(expected) @ found, compute_uv=False)
    assert cosine == pytest.approx(np.ones(7), abs=1e-6)
    ratio = (NUM_FEATURES / 7) ** 0.5
    assert (x @ found).mean(1) == pytest.approx(x.mean(1) * ratio, rel=1e-5)


def test_what_models_read() -> None:
    x = {"m": draw(rank=5, noise=0.0)}
    data = [
        from_interactions(make_log(), x, feature_channels=channels)[0]
        for channels in (None, 7)
    ]
    assert data[1]["item"].x_m.shape == (NUM_ITEMS, 7)
    whole, few = (FeatureGraph(k=4)(d) for d in data)
    edge_type = ("item", "similar_m", "item")
    assert torch.equal(whole[edge_type].edge_index, few[edge_type].edge_index)
    rows = [ToRecGraph()(d)["item"].x_m for d in data]
    whole, few = (x @ x.t() / x.size(1) for x in rows)
    assert torch.allclose(whole, few, atol=1e-4)
    assert whole.diagonal().allclose(torch.tensor(1.0))


@pytest.mark.parametrize("block", [1, 100, 2**20])
def test_blocks(monkeypatch: Any, block: int) -> None:
    x = draw(rank=6, noise=0.1)
    expected = fit(x, 7), projection.to_features(x, torch.eye(NUM_FEATURES, 7))
    monkeypatch.setattr(features, "BLOCK", block)
    assert fit(x, 7) == pytest.approx(expected[0], abs=1e-5)
    found = projection.to_features(x, torch.eye(NUM_FEATURES, 7))
    assert (found == expected[1]).all()
    x[[0, -1], 3] = 0, np.inf
    x[1] = 0
    with pytest.raises(ValueError, match=r"Inf for 1 item\(s\): 39\)"):
        features.check_features(x, "x", "mask")
    present = features.check_features(x[:-1], "x", "mask")
    assert np.flatnonzero(~present).tolist() == [1]


def test_items_without_content() -> None:
    x = draw(rank=6, noise=0.1)
    x[3] = 0
    log = make_log()
    whole = from_interactions(
        log, {"m": x}, zero_rows="mask", feature_channels=7
    )
    names = np.delete(ITEMS, 3)
    part = (names, np.delete(x, 3, axis=0))
    without = from_interactions(log, {"m": part}, feature_channels=7)
    for dataset in (whole, without):
        item = dataset[0]["item"]
        assert (~item.mask_m).nonzero().tolist() == [[3]]
        assert item.x_m[3].eq(0).all()
        assert torch.equal(item.x_m, whole[0]["item"].x_m)


def test_sample(monkeypatch: Any) -> None:
    x = draw(rank=6, noise=0.1)
    used = np.arange(NUM_ITEMS) != 1
    monkeypatch.setattr(projection, "SAMPLE", 13)
    found = projection.fit_projection(x, used, 7, "x").numpy()
    assert found == pytest.approx(fit(x[[0, *range(4, 40, 3)]], 7), abs=1e-6)


def test_default(monkeypatch: Any) -> None:
    x = draw(rank=6, noise=0.1)
    monkeypatch.setattr(projection, "DEFAULT", 5)
    monkeypatch.setattr(projection, "LARGE", x.size)
    assert from_interactions(make_log(), {"m": x}).projections == {}
    monkeypatch.setattr(projection, "LARGE", x.size - 1)
    dataset = from_interactions(make_log(), {"m": x})
    assert dataset[0]["item"].x_m.shape == (NUM_ITEMS, 5)
    dataset = from_interactions(make_log(), {"m": x}, feature_channels=99)
    assert torch.equal(dataset[0]["item"].x_m, torch.tensor(x).float())


def write(folder: Path, x: Dict[str, np.ndarray]) -> List[Any]:
    make_log().to_csv(folder / "log.csv", index=False)
    paths = {}
    for name, matrix in x.items():
        paths[name] = str(folder / f"{name}.npy")
        np.save(paths[name], matrix)
    return [folder / "log.csv", folder, "own", paths]


def test_prepare(tmp_path: Path) -> None:
    x = {
        "few": draw(rank=6, noise=0.1)[:, :6],
        "many": draw(rank=6, noise=0.1).astype(np.float16),
    }
    report = prepare(*write(tmp_path, x), feature_channels=7)
    assert report.modalities["few"]["raw_features"] == 6
    assert report.modalities["many"]["raw_features"] == NUM_FEATURES
    line = "'many': 7 features (projected from 24) of 40 items"
    assert line in str(report)
    assert "'few': 6 features of 40 items" in str(report)
    expected = from_interactions(make_log(), x, feature_channels=7)
    for _ in range(2):  # Anew, and from the processed file.
        read = MultimodalRecDataset(tmp_path, "own")
        assert read.fingerprint == expected.fingerprint
        assert list(read.projections) == list(expected.projections) == ["many"]
        both = read.projections["many"], expected.projections["many"]
        assert torch.equal(*both)
    prepare(*write(tmp_path, x), overwrite=True)
    read = MultimodalRecDataset(tmp_path, "own")
    assert read.projections == {}
    assert read[0]["item"].x_many.shape == (NUM_ITEMS, NUM_FEATURES)


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((24, 6), np.float32),
        np.ones((24, 7)),
        np.ones(7, np.float32),
        np.full((24, 7), np.nan, np.float32),
    ],
)
def test_other_projection(tmp_path: Path, matrix: np.ndarray) -> None:
    args = write(tmp_path, {"m": draw(rank=6, noise=0.1)})
    prepare(*args, feature_channels=7)
    np.save(tmp_path / "own" / "m_projection.npy", matrix)
    message = r"m_projection.npy' must hold finite 32-bit .*\[num_raw.*, 7\]"
    with pytest.raises(ValueError, match=message):
        MultimodalRecDataset(tmp_path, "own")


@pytest.mark.parametrize("channels", [1, 2.0, True])
def test_wrong_channels(tmp_path: Path, channels: Any) -> None:
    message = "'feature_channels' must be"
    with pytest.raises(ValueError, match=message):
        from_interactions(make_log(), {}, feature_channels=channels)
    with pytest.raises(ValueError, match=message):
        prepare("none.csv", tmp_path, "own", feature_channels=channels)


def test_features_in_float16(tmp_path: Path) -> None:
    """They are those of the files, rounded, and what is made of them is what
    is made of the same in float32.
    """
    x = draw(rank=6, noise=0.1)
    x[3] = 0.0
    prepare(*write(tmp_path, {"m": x}), zero_rows="mask")
    single, half = (
        MultimodalRecDataset(tmp_path, "own", zero_rows="mask", half=half)[0]
        for half in (False, True)
    )
    assert half["item"].x_m.dtype == torch.half
    assert torch.equal(half["item"].x_m, single["item"].x_m.half())
    assert torch.equal(half["item"].mask_m, single["item"].mask_m)
    single["item"].x_m = half["item"].x_m.float()
    data, other = (FeatureGraph(k=3)(graph) for graph in (half, single))
    edge_type = "item", "similar_m", "item"
    assert torch.equal(data[edge_type].edge_index, other[edge_type].edge_index)
    graphs = [ToRecGraph()(graph)["item"].x_m for graph in (data, other)]
    assert graphs[0].dtype == torch.float
    assert torch.equal(*graphs)


@pytest.mark.parametrize(("scale", "offset"), [(1e6, 0), (1e-6, 0), (1, 1e3)])
def test_what_float16_cannot_hold(
    tmp_path: Path, scale: float, offset: float
) -> None:
    x = draw(rank=6, noise=0.1)
    x[5] = scale * x[5] / np.abs(x[5]).max() + offset
    prepare(*write(tmp_path, {"m": x}))
    MultimodalRecDataset(tmp_path, "own")
    message = r"m_feat.npy' must have rows .* row 5\); leave out 'half'"
    with pytest.raises(ValueError, match=message):
        MultimodalRecDataset(tmp_path, "own", half=True)


def test_half_is_a_bool(tmp_path: Path) -> None:
    prepare(*write(tmp_path, {"m": draw(rank=6, noise=0.1)}))
    wrong: Any = "yes"
    with pytest.raises(ValueError, match="'half' must be a bool"):
        MultimodalRecDataset(tmp_path, "own", half=wrong)

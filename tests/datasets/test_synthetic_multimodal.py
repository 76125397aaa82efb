import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.transforms import FeatureGraph

SPLITS = ("edge_index", "val_edge_label_index", "test_edge_label_index")


def interactions(dataset):
    store = dataset[0]["user", "interacts", "item"]
    return [store[name] for name in SPLITS]


def content_recall(dataset, modalities, k=20):
    """Recall of items that are like the user's training items."""
    data = FeatureGraph()(dataset[0])
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    train, _, test = interactions(dataset)
    profile = torch.zeros(num_users, num_items)
    profile[train[0], train[1]] = 1
    similar = torch.zeros(num_items, num_items)
    for modality in modalities:
        store = data["item", f"similar_{modality}", "item"]
        similar[store.edge_index[0], store.edge_index[1]] += 1
    score = profile @ (similar + similar.t())
    # A user's scores are few different numbers: chance decides ties.
    score += torch.rand(score.shape, generator=torch.manual_seed(0)) / 2
    score[profile > 0] = -1
    hit = torch.zeros(num_users, num_items)
    hit.scatter_(1, score.topk(k).indices, 1)
    return float(hit[test[0], test[1]].mean())


def test_content():
    dataset = SyntheticMultimodal()
    data = dataset[0]
    data.validate(raise_on_error=True)
    assert data["user"].num_nodes == 2000
    assert data["item"].num_nodes == 1500
    assert dataset.modalities == ["visual", "textual"]
    assert dataset.user_ids.tolist() == list(range(2000))
    assert dataset.item_ids.tolist() == list(range(1500))
    assert dataset.num_duplicates == 0
    for name, dim in (("visual", 64), ("textual", 48)):
        x = data["item"][f"x_{name}"]
        assert x.dtype == torch.float32
        assert x.shape == (1500, dim)
        assert float(x.var()) == pytest.approx(1.25, abs=0.2)

    train, val, test = interactions(dataset)
    every = torch.cat([train, val, test], dim=1)
    count = every[0].bincount()
    assert every.unique(dim=1).size(1) == every.size(1)
    assert float(count.double().mean()) == pytest.approx(6, abs=0.3)
    assert int(count.min()) == 3
    assert int(train[0].bincount(minlength=2000).min()) > 0
    for part, share in ((train, 0.8), (val, 0.1), (test, 0.1)):
        assert part.size(1) / every.size(1) == pytest.approx(share, abs=1e-3)
        key = part[0] * 1500 + part[1]
        assert bool((key.diff() > 0).all())


def test_seed():
    one, same, other = (
        SyntheticMultimodal(200, 100, seed=seed)[0] for seed in (3, 3, 4)
    )
    assert torch.equal(one["item"].x_visual, same["item"].x_visual)
    for name in SPLITS:
        assert torch.equal(
            one["user", "item"][name], same["user", "item"][name]
        )
    assert not torch.equal(one["item"].x_visual, other["item"].x_visual)
    assert one["user", "item"].num_edges != other["user", "item"].num_edges


@pytest.mark.parametrize(
    "kwargs",
    [
        {"signal": 0.0},
        {"noise": 0.0},
        {"missing": 0.5},
        {"modalities": {"a": 3}},
    ],
)
def test_features_do_not_change_interactions(kwargs):
    expected = interactions(SyntheticMultimodal(200, 100))
    found = interactions(SyntheticMultimodal(200, 100, **kwargs))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_signal():
    names = ["visual", "textual"]
    chance = 20 / 1500
    full = SyntheticMultimodal()
    single = [content_recall(full, [name]) for name in names]
    both = content_recall(full, names)
    assert min(single) > 4 * chance
    # Each sees what the other does not.
    assert both > 1.2 * max(single)

    none = SyntheticMultimodal(signal=0.0)
    assert content_recall(none, names) < 1.3 * chance
    some = content_recall(SyntheticMultimodal(signal=0.7), names)
    assert 2 * chance < some < both
    noisy = content_recall(SyntheticMultimodal(noise=3.0), names)
    assert noisy < both


def test_popularity():
    def share_of_top_items(popularity):
        dataset = SyntheticMultimodal(popularity=popularity)
        train = interactions(dataset)[0]
        count = train[1].bincount(minlength=1500).sort().values
        return float(count[-150:].sum() / count.sum())

    flat, default, skewed = map(share_of_top_items, (0.0, 0.5, 1.0))
    assert flat < 0.22
    assert 1.2 * flat < default < skewed


def test_missing():
    item = SyntheticMultimodal(200, 100, missing={"textual": 0.3})[0]["item"]
    assert "mask_visual" not in item
    assert int(item.mask_textual.sum()) == 70
    assert torch.equal(item.x_textual.any(dim=1), item.mask_textual)
    item = SyntheticMultimodal(200, 100, missing=0.2)[0]["item"]
    assert int(item.mask_visual.sum()) == int(item.mask_textual.sum()) == 80
    assert not torch.equal(item.mask_visual, item.mask_textual)


@pytest.mark.parametrize("num_modalities", [1, 10])
def test_number_of_modalities(num_modalities):
    modalities = {f"m{i}": 8 + i for i in range(num_modalities)}
    dataset = SyntheticMultimodal(300, 200, modalities, noise=0.0)
    assert dataset.modalities == list(modalities)
    for i, name in enumerate(modalities):
        x = dataset[0]["item"][f"x_{name}"]
        assert x.shape == (200, 8 + i)
        # Without noise, a modality has as many dimensions as factors.
        own = len(range(i, 12, num_modalities))
        rank = np.linalg.matrix_rank(x.double().numpy(), tol=1e-3)
        assert rank == min(4 + own, 8 + i)


def test_transforms():
    edge_type = ("item", "similar_visual", "item")
    for name in ("transform", "pre_transform"):
        dataset = SyntheticMultimodal(50, 40, **{name: FeatureGraph(3)})
        assert dataset[0][edge_type].edge_index.size(1) == 120
        assert (edge_type in dataset._data.edge_types) == (
            name == "pre_transform"
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_users": 1}, r"\'num_users\' must be at least 2 \(got 1\)"),
        ({"num_items": 5}, "'num_items' must .*5"),
        ({"mean_interactions": 3}, "'mean_interactions' must .*3"),
        ({"num_items": 10}, "'mean_interactions' must be at most 5.0"),
        ({"popularity": -1}, "'popularity' must be at least 0"),
        ({"signal": 1.1}, r"'signal' must be at most 1 \(got 1.1\)"),
        ({"noise": float("nan")}, "'noise' must .*nan"),
        ({"missing": 1.0}, r"'missing\['visual'\]' must .*1.0"),
        ({"missing": {"audio": 0.1}}, r"'missing' must .*\['audio'\]"),
        ({"modalities": {"a": 0}}, r"'modalities\['a'\]' must .*0"),
        ({"modalities": {"a b": 3}}, r"\(got 'a b'\)"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SyntheticMultimodal(**kwargs)

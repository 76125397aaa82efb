import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.testing import withDevice
from torch_geometric.utils import to_dense_adj
from toy_data import make_data as toy_data

from tmfun_pyg.transforms import FeatureGraph, ToRecGraph
from tmfun_pyg.utils import neighbors

EDGE_TYPE = ("item", "similar_m", "item")


def make_data(x, mask=None):
    data = HeteroData()
    data["item"].num_nodes = len(x)
    data["item"].x_m = x
    if mask is not None:
        data["item"].mask_m = mask
    return data


def connect(x, mask=None, **kwargs):
    store = FeatureGraph(**kwargs)(make_data(x, mask))[EDGE_TYPE]
    return store.edge_index, store.edge_weight


def reference(x, k, mask=None):
    """Edges of the slow, obvious way: sort all pairs, item by item."""
    x = x.double().numpy()
    present = np.arange(len(x)) if mask is None else np.flatnonzero(mask)
    edges = []
    for i in present:
        norm = np.linalg.norm(x, axis=1) * np.linalg.norm(x[i])
        far = -(x @ x[i]) / np.where(norm == 0, 1, norm)
        # What differs by rounding errors alone is a tie.
        far = far.round(9)
        far[i] = np.inf
        order = sorted(present, key=lambda j: (far[j], j))
        edges += [(i, j) for j in sorted(order[:k])]
    target, source = np.array(edges).T
    return torch.from_numpy(np.stack([source, target]))


@pytest.fixture
def x():
    return torch.randn(83, 7, generator=torch.manual_seed(1))


@pytest.mark.parametrize("k", [1, 6, 82])
def test_reference(x, k):
    edge_index, _ = connect(x, k=k)
    assert edge_index.dtype == torch.long
    assert edge_index.is_contiguous()
    assert torch.equal(edge_index, reference(x, k))


def test_features_far_from_the_origin(x):
    # Directions nearly agree: compare to what float64 can tell apart.
    x = x.abs() * 100 + 1000
    edge_index, _ = connect(x, k=4)
    y = x.double()
    y = y / y.norm(dim=1, keepdim=True)
    score = (y @ y.t()).fill_diagonal_(-1)
    worst = score.topk(4).values[:, -1]
    found = score[edge_index[1], edge_index[0]]
    assert bool((found >= worst[edge_index[1]] - 1e-6).all())


def test_ties():
    # Few different rows, most of them many times, in mixed order.
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 16, generator=rng)
    x = rows[torch.randint(9, (90,), generator=rng)]
    for k in (3, 10, 40):
        edge_index, _ = connect(x, k=k)
        assert torch.equal(edge_index, reference(x, k))


def test_all_rows_equal():
    edge_index, weight = connect(torch.ones(4, 3), k=2)
    assert edge_index.tolist() == [
        [1, 2, 0, 2, 0, 1, 0, 1],
        [0, 0, 1, 1, 2, 2, 3, 3],
    ]
    assert weight.tolist() == [0.5] * 8


def test_scale_does_not_matter(x):
    scale = 2.0 ** torch.arange(-41, 42).unsqueeze(1)
    expected, _ = connect(x, k=5)
    assert torch.equal(connect(x * scale, k=5)[0], expected)
    for scale in (2.0**-1000, 2.0**1000):
        assert torch.equal(connect(x.double() * scale, k=5)[0], expected)


def test_any_number_of_rows_at_once(monkeypatch):
    # Directions of few values: nothing but near and exact ties.
    x = torch.randint(1, 4, (301, 5), generator=torch.manual_seed(0)).float()
    expected, _ = connect(x, k=7)
    for num_rows in (1, 13, 300):
        monkeypatch.setattr(neighbors, "BLOCK_SCORES", num_rows * 301)
        assert torch.equal(connect(x, k=7)[0], expected)


def test_permutation(x):
    perm = torch.randperm(len(x), generator=torch.manual_seed(2))
    edge_index, _ = connect(x, k=5)
    permuted, _ = connect(x[perm], k=5)
    expected = {tuple(edge) for edge in edge_index.t().tolist()}
    assert {tuple(edge) for edge in perm[permuted].t().tolist()} == expected


def test_mask(x):
    mask = torch.rand(len(x), generator=torch.manual_seed(3)) < 0.6
    x[~mask] = float("nan")  # What a masked row holds must not matter.
    edge_index, weight = connect(x, mask, k=5)
    assert bool(mask[edge_index].all())
    # The same as if there were no other items.
    kept, kept_weight = connect(x[mask], k=5)
    assert torch.equal(mask.nonzero().squeeze(1)[kept], edge_index)
    assert torch.equal(kept_weight, weight)
    x[~mask] = 0
    assert torch.equal(edge_index, reference(x, 5, mask))


@pytest.mark.parametrize("recall", [None, 0.9])
def test_cold_items_receive_and_never_send(x, recall):
    """Edges of the others are as if cold items were not there."""
    if recall is not None:
        pytest.importorskip("faiss", reason="faiss is not installed")
    cold = torch.tensor([0, 5, 82])
    is_warm = torch.ones(len(x), dtype=torch.bool)
    is_warm[cold] = False
    warm = is_warm.nonzero().view(-1)
    data = make_data(x)
    data["user"].num_nodes = 2
    pairs = torch.stack([warm % 2, warm])
    data["user", "interacts", "item"].edge_index = pairs
    store = FeatureGraph(k=4, recall=recall)(data)[EDGE_TYPE]
    source, target = store.edge_index
    assert is_warm[source].all()
    assert torch.equal(target, torch.arange(83).repeat_interleave(4))
    assert torch.equal(store.edge_weight, torch.full((4 * 83,), 0.25))
    of_warm = is_warm[target]
    found = store.edge_index[:, of_warm]
    assert torch.equal(found, warm[reference(x[warm], 4)])
    y = x / x.norm(dim=1, keepdim=True)
    score = (y[cold] @ y[warm].t()).topk(4).indices
    expected = warm[score].sort(dim=1).values
    assert torch.equal(source[~of_warm].view(3, 4), expected)


def test_weights(x):
    edge_index, weight = connect(x, k=4)
    assert weight.dtype == torch.float32
    assert weight.tolist() == [0.25] * (4 * len(x))
    dense = to_dense_adj(edge_index, edge_attr=weight)[0]
    assert torch.equal(dense.sum(dim=0), torch.ones(len(x)))
    assert int(dense.diagonal().count_nonzero()) == 0


def test_modalities(x):
    data = make_data(x)
    data["item"].x_n = x[:, :3].flip(0)
    data["user"].x_u = x
    out = FeatureGraph(k=2)(data)
    other = ("item", "similar_n", "item")
    assert out.edge_types == [EDGE_TYPE, other]
    # The input stays as it was.
    assert data.edge_types == []
    expected, _ = connect(data["item"].x_n, k=2)
    assert torch.equal(out[other].edge_index, expected)


def test_twice(x):
    transform = FeatureGraph(k=3)
    once = transform(make_data(x))
    twice = transform(once)
    assert twice.edge_types == once.edge_types
    for name in ("edge_index", "edge_weight"):
        assert torch.equal(twice[EDGE_TYPE][name], once[EDGE_TYPE][name])


def test_half_precision():
    # The norms of these rows overflow in half precision.
    x = torch.randn(40, 64, generator=torch.manual_seed(0)) * 1e4
    x = x.half()
    assert torch.equal(connect(x, k=3)[0], connect(x.float(), k=3)[0])


def test_approximate():
    pytest.importorskip("faiss")
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2500, 3, generator=rng) @ torch.randn(3, 8, generator=rng)
    mask = torch.rand(2500, generator=rng) < 0.8
    x[~mask] = float("nan")
    expected, _ = connect(x, mask, k=6)
    edge_index, weight = connect(x, mask, k=6, recall=0.9)
    assert edge_index.size() == expected.size()
    assert bool(mask[edge_index].all())
    assert not bool((edge_index[0] == edge_index[1]).any())
    key, wanted = (pair[1] * 2500 + pair[0] for pair in (edge_index, expected))
    assert bool((key.diff() > 0).all())
    assert 0.88 < float(torch.isin(wanted, key).float().mean()) < 1
    dense = torch.zeros(2500).index_add_(0, edge_index[1], weight)
    assert torch.allclose(dense, mask.float(), atol=1e-5)


def test_approximate_bad_features():
    pytest.importorskip("faiss")
    x = torch.ones(1500, 3)
    x[7] = 0
    with pytest.raises(ValueError, match=r"all-zero rows for 1 item\(s\): 7"):
        connect(x, recall=0.9)
    x[7] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or Inf for 1 item\(s\): 7"):
        connect(x, recall=0.9)


@withDevice
def test_device(x, device):
    expected = connect(x, k=5)
    found = connect(x.to(device), k=5)
    for a, b in zip(found, expected, strict=True):
        assert a.device == torch.device(device)
        assert torch.equal(a.cpu(), b)


def test_repr():
    assert str(FeatureGraph(k=3)) == "FeatureGraph(k=3, recall=None)"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": 0}, r"'k' must be at least 1 \(got 0\)"),
        ({"recall": 0}, r"'recall' must be above 0 .* \(got 0\)"),
        ({"recall": 95}, r"'recall' must .* at most 1 \(got 95\)"),
        ({"recall": float("nan")}, r"'recall' .* \(got nan\)"),
        ({"k": 83}, r"'k' must be less than the 83 .*'m' \(got 83\)"),
        ({"k": 100}, r"'k' must be less than the 83 .*'m' \(got 100\)"),
    ],
)
def test_bad_arguments(x, kwargs, message):
    with pytest.raises(ValueError, match=message):
        connect(x, **kwargs)


def test_bad_features(x):
    x[[4, 70]] = 0
    with pytest.raises(ValueError, match=r"x_m.*2 item\(s\): 4, 70\).*mask_m"):
        connect(x)
    mask = torch.ones(83, dtype=torch.bool)
    mask[0] = mask[4] = False
    with pytest.raises(ValueError, match=r"all-zero rows for 1 item\(s\): 70"):
        connect(x, mask)
    x[5, 2] = float("inf")
    with pytest.raises(ValueError, match=r"x_m.*Inf for 1 item\(s\): 5\)"):
        connect(x)


def test_no_features():
    data = HeteroData()
    data["item"].num_nodes = 3
    assert FeatureGraph()(data).edge_types == []


def test_refuses_standardized_features():
    data = ToRecGraph()(toy_data(num_modalities=1, missing=False))
    with pytest.raises(ValueError, match=r"FeatureGraph\(\) before ToRec"):
        FeatureGraph(k=2)(data)

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.testing import withDevice
from torch_geometric.utils import to_dense_adj

from tmfun_pyg.transforms import FeatureGraph

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


def reference(x, k, metric, loop=False, mask=None):
    """Edges of the slow, obvious way: sort all pairs, item by item."""
    x = x.double().numpy()
    present = np.arange(len(x)) if mask is None else np.flatnonzero(mask)
    edges = []
    for i in present:
        if metric == "cosine":
            norm = np.linalg.norm(x, axis=1) * np.linalg.norm(x[i])
            far = -(x @ x[i]) / np.where(norm == 0, 1, norm)
        else:
            far = ((x - x[i]) ** 2).sum(axis=1)
        # What differs by rounding errors alone is a tie.
        far = far.round(9)
        far[i] = -np.inf if loop else np.inf
        order = sorted(present, key=lambda j: (far[j], j))
        edges += [(i, j) for j in sorted(order[:k])]
    target, source = np.array(edges).T
    return torch.from_numpy(np.stack([source, target]))


@pytest.fixture
def x():
    return torch.randn(83, 7, generator=torch.manual_seed(1))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 6, 82])
def test_reference(x, metric, loop, k):
    edge_index, _ = connect(x, k=k, metric=metric, loop=loop)
    assert edge_index.dtype == torch.long
    assert edge_index.is_contiguous()
    assert torch.equal(edge_index, reference(x, k, metric, loop))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_features_far_from_the_origin(x, metric):
    x = x.abs() * 100 + 1000
    edge_index, _ = connect(x, k=4, metric=metric)
    if metric == "cosine":
        # Directions nearly agree: compare to what float64 can tell apart.
        y = x.double()
        y = y / y.norm(dim=1, keepdim=True)
        score = (y @ y.t()).fill_diagonal_(-1)
        worst = score.topk(4).values[:, -1]
        assert bool(
            (
                score[edge_index[1], edge_index[0]]
                >= worst[edge_index[1]] - 1e-6
            ).all()
        )
    else:
        assert torch.equal(edge_index, reference(x, 4, metric))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("loop", [False, True])
def test_ties(metric, loop):
    # Few different rows, most of them many times, in mixed order.
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 16, generator=rng)
    x = rows[torch.randint(9, (90,), generator=rng)]
    for k in (3, 10, 40):
        edge_index, _ = connect(x, k=k, metric=metric, loop=loop)
        assert torch.equal(edge_index, reference(x, k, metric, loop))


def test_all_rows_equal():
    expected = [[1, 2, 0, 2, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2, 3, 3]]
    for metric in ("cosine", "euclidean"):
        edge_index, weight = connect(torch.ones(4, 3), k=2, metric=metric)
        assert edge_index.tolist() == expected
        assert weight.tolist() == [0.5] * 8


def test_scale_does_not_matter_for_cosine(x):
    scale = 2.0 ** torch.arange(-41, 42).unsqueeze(1)
    expected, _ = connect(x, k=5)
    assert torch.equal(connect(x * scale, k=5)[0], expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_block_size(metric):
    # Directions of few values: nothing but near and exact ties.
    x = torch.randint(1, 4, (301, 5), generator=torch.manual_seed(0)).float()
    expected = connect(x, k=7, metric=metric)
    for block_size in (1, 2, 13, 300, 301, 1000):
        found = connect(x, k=7, metric=metric, block_size=block_size)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_permutation(x, metric):
    perm = torch.randperm(len(x), generator=torch.manual_seed(2))
    edge_index, _ = connect(x, k=5, metric=metric)
    permuted, _ = connect(x[perm], k=5, metric=metric)
    expected = {tuple(edge) for edge in edge_index.t().tolist()}
    assert {tuple(edge) for edge in perm[permuted].t().tolist()} == expected


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("force_undirected", [False, True])
def test_mask(x, metric, force_undirected):
    mask = torch.rand(len(x), generator=torch.manual_seed(3)) < 0.6
    x[~mask] = float("nan")  # What a masked row holds must not matter.
    kwargs = {"metric": metric, "force_undirected": force_undirected}
    edge_index, weight = connect(x, mask, k=5, **kwargs)
    assert bool(mask[edge_index].all())
    assert bool(weight.isfinite().all())
    if not force_undirected:
        x[~mask] = 0
        assert torch.equal(edge_index, reference(x, 5, metric, mask=mask))
    # The same as if there were no other items.
    kept, kept_weight = connect(x[mask], k=5, **kwargs)
    assert torch.equal(mask.nonzero().squeeze(1)[kept], edge_index)
    assert torch.equal(kept_weight, weight)


def test_undirected(x):
    edge_index, weight = connect(x, k=5, force_undirected=True)
    directed, _ = connect(x, k=5)
    expected = to_dense_adj(directed)[0]
    expected = torch.maximum(expected, expected.t())
    assert torch.equal(to_dense_adj(edge_index)[0], expected)
    key = edge_index[1] * len(x) + edge_index[0]
    assert bool((key.diff() > 0).all())

    degree = expected.sum(dim=1)
    expected = expected / (degree[:, None] * degree[None]).sqrt()
    dense = to_dense_adj(edge_index, edge_attr=weight)[0]
    assert torch.equal(dense, dense.t())
    assert torch.allclose(dense, expected)
    # The largest eigenvalue of the normalized matrix is one.
    assert float(torch.linalg.eigvalsh(dense)[-1]) == pytest.approx(1)


@pytest.mark.parametrize("loop", [False, True])
def test_normalization(x, loop):
    edge_index, weight = connect(x, k=4, loop=loop)
    assert weight.dtype == torch.float32
    dense = to_dense_adj(edge_index, edge_attr=weight)[0]
    assert torch.allclose(dense.sum(dim=0), torch.ones(len(x)))
    assert int(dense.diagonal().count_nonzero()) == (len(x) if loop else 0)
    _, weight = connect(x, k=4, loop=loop, normalize=False)
    assert weight.tolist() == [1.0] * (4 * len(x))


def test_modalities(x):
    data = make_data(x)
    data["item"].x_n = x[:, :3].flip(0)
    data["user"].x_u = x
    out = FeatureGraph(k=2)(data)
    assert out.edge_types == [EDGE_TYPE, ("item", "similar_n", "item")]
    # The input stays as it was.
    assert data.edge_types == []
    out = FeatureGraph(k=2, modalities=["n"])(data)
    assert out.edge_types == [("item", "similar_n", "item")]
    expected, _ = connect(data["item"].x_n, k=2)
    assert torch.equal(out[out.edge_types[0]].edge_index, expected)


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


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("force_undirected", [False, True])
def test_approximate(metric, loop, force_undirected):
    pytest.importorskip("faiss")
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2500, 3, generator=rng) @ torch.randn(3, 8, generator=rng)
    mask = torch.rand(2500, generator=rng) < 0.8
    x[~mask] = float("nan")
    kwargs = {
        "k": 6,
        "metric": metric,
        "loop": loop,
        "force_undirected": force_undirected,
    }
    expected, _ = connect(x, mask, **kwargs)
    edge_index, weight = connect(x, mask, recall=0.9, **kwargs)
    assert bool(mask[edge_index].all())
    assert bool((edge_index[0] == edge_index[1]).any()) == loop
    key, wanted = (pair[1] * 2500 + pair[0] for pair in (edge_index, expected))
    assert bool((key.diff() > 0).all())
    assert float(torch.isin(wanted, key).float().mean()) > 0.88
    if not force_undirected:
        assert edge_index.size() == expected.size()
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
    for metric in ("cosine", "euclidean"):
        expected = connect(x, k=5, metric=metric)
        found = connect(x.to(device), k=5, metric=metric)
        for a, b in zip(found, expected, strict=True):
            assert a.device == torch.device(device)
            assert torch.equal(a.cpu(), b)


def test_repr():
    assert str(FeatureGraph(k=3, metric="euclidean", modalities=["m"])) == (
        "FeatureGraph(k=3, metric='euclidean', loop=False, "
        "force_undirected=False, normalize=True, modalities=['m'], "
        "recall=None)"
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": 0}, "k: found 0"),
        ({"metric": "dot"}, "metric: found 'dot'"),
        ({"block_size": 0}, "block_size: found 0"),
        ({"recall": 0}, "recall: found 0, expected more than 0"),
        ({"recall": 95}, "recall: found 95, .* at most 1"),
        ({"recall": float("nan")}, "recall: found nan"),
        ({"k": 83}, "k: found 83 .*'m'.* fewer than the 83 items"),
        ({"k": 100}, "k: found 100 .*'m'.* fewer than the 83 items"),
        ({"modalities": ["n"]}, r"found features .*\['m'\].*expected \['n'\]"),
        ({"modalities": []}, "expected at least one"),
    ],
)
def test_bad_arguments(x, kwargs, message):
    with pytest.raises(ValueError, match=message):
        connect(x, **kwargs)


def test_bad_features(x):
    x[[4, 70]] = 0
    with pytest.raises(ValueError, match=r"x_m.*2 item\(s\): 4, 70, .*mask_m"):
        connect(x)
    connect(x, metric="euclidean")
    mask = torch.ones(83, dtype=torch.bool)
    mask[0] = mask[4] = False
    with pytest.raises(ValueError, match=r"all-zero rows for 1 item\(s\): 70"):
        connect(x, mask)
    x[5, 2] = float("inf")
    with pytest.raises(ValueError, match=r"x_m.*Inf for 1 item\(s\): 5,"):
        connect(x, metric="euclidean")


def test_no_features():
    data = HeteroData()
    data["item"].num_nodes = 3
    with pytest.raises(ValueError, match="expected at least one"):
        FeatureGraph()(data)

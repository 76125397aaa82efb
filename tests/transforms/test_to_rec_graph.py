import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from dense_content import item_mask, normalized_features
from torch.utils.data import DataLoader
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.testing import withDevice
from torch_geometric.transforms import Compose
from torch_geometric.utils import coalesce
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.transforms import FeatureGraph, ToRecGraph
from tmfun_pyg.utils.spmm import spmm, to_csr

INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
SIMILAR = ("item", "similar_m0", "item")


def dense(store):
    """The matrix of a relation, rows by columns."""
    out = torch.zeros(tuple(store.edge_index.get_sparse_size()))
    index = tuple(store.edge_index.as_tensor())
    return out.index_put(index, store.edge_weight, accumulate=True)


def dense_similar(data, edge_type=SIMILAR):
    """The matrix of a raw feature graph, from neighbors to items."""
    store = data[edge_type]
    out = torch.zeros(NUM_ITEMS, NUM_ITEMS)
    out[store.edge_index[0], store.edge_index[1]] = store.edge_weight
    return out


def normalized(data):
    r = dense_interactions(data)
    degree = [r.sum(dim=dim, keepdim=True).clamp(min=1) for dim in (1, 0)]
    return r / (degree[0] * degree[1]).sqrt()


def shuffle(data):
    """Brings the edges of all relations into another order."""
    generator = torch.Generator().manual_seed(5)
    for store in data.edge_stores:
        num_edges = store.edge_index.size(1)
        perm = torch.randperm(num_edges, generator=generator)
        store.edge_index = store.edge_index[:, perm]
        if "edge_weight" in store:
            store.edge_weight = store.edge_weight[perm]
    return data


def assert_same_graph(found, expected):
    assert found.metadata() == expected.metadata()
    for store, other in zip(found.stores, expected.stores, strict=True):
        assert set(store.keys()) == set(other.keys())
        for name, value in other.items():
            if not torch.is_tensor(value):
                assert store[name] == value, name
                continue
            assert type(store[name]) is type(value), name
            assert torch.equal(store[name], value), name


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_interactions(missing, is_shuffled):
    raw = make_data(2, missing)
    expected = normalized(raw)
    if is_shuffled:
        shuffle(raw)
    data = ToRecGraph()(raw)
    for edge_type, matrix in ((INTERACTS, expected), (REVERSE, expected.t())):
        store = data[edge_type]
        edge_index = store.edge_index
        assert isinstance(edge_index, EdgeIndex)
        assert edge_index.validate().dtype == torch.long
        assert edge_index.sort_order == "row"
        assert tuple(edge_index.sparse_size()) == tuple(matrix.shape)
        row, col = edge_index.as_tensor()
        assert bool(((row * matrix.size(1) + col).diff() > 0).all())
        assert store.edge_weight.dtype == torch.float
        torch.testing.assert_close(dense(store), matrix)
    r = dense_interactions(raw)
    assert torch.equal(data["user"].degree, r.sum(dim=1))
    assert torch.equal(data["item"].degree, r.sum(dim=0))


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_feature_graphs(is_shuffled):
    raw = make_data(2, missing=True)
    if is_shuffled:
        shuffle(raw)
    data = ToRecGraph()(raw)
    for name in ("m0", "m1"):
        edge_type = ("item", f"similar_{name}", "item")
        edge_index = data[edge_type].edge_index
        assert isinstance(edge_index, EdgeIndex)
        assert edge_index.validate().sort_order == "col"
        assert edge_index.sparse_size() == (NUM_ITEMS, NUM_ITEMS)
        row, col = edge_index.as_tensor()
        assert bool(((col * NUM_ITEMS + row).diff() > 0).all())
        # As it was, each weight with its edge:
        found = dense(data[edge_type])
        assert torch.equal(found, dense_similar(raw, edge_type))
        assert not torch.equal(found, found.t())


def test_feature_graph_without_weights():
    raw = make_data(1, missing=False)
    del raw[SIMILAR].edge_weight
    data = ToRecGraph()(raw)
    num_edges = raw[SIMILAR].edge_index.size(1)
    assert data[SIMILAR].edge_weight.tolist() == [1.0] * num_edges


@pytest.mark.parametrize("missing", [False, True])
def test_features(missing):
    raw = make_data(2, missing)
    expected = {}
    for name in ("m0", "m1"):
        x, mask = raw["item"][f"x_{name}"], item_mask(raw, name)
        x *= 10.0 ** torch.arange(NUM_ITEMS).view(-1, 1)  # Scale of a row.
        expected[name] = normalized_features(raw, name) * mask.view(-1, 1)
        x[~mask] = torch.nan
    data = ToRecGraph()(raw)
    assert data.modalities == ["m0", "m1"]
    for name, x in expected.items():
        torch.testing.assert_close(data["item"][f"x_{name}"], x)


def test_features_in_half_precision():
    raw = make_data(1, missing=False)
    x = raw["item"].x_m0 = (1000 * raw["item"].x_m0).half()
    found = ToRecGraph()(raw)["item"].x_m0
    assert found.dtype == torch.float
    x = F.layer_norm(x.double(), (3,), eps=0).float()
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_scale_of_features_does_not_matter(scale):
    raw = make_data(1, missing=False)
    expected = F.layer_norm(raw["item"].x_m0.double(), (3,), eps=0).float()
    raw["item"].x_m0 = raw["item"].x_m0 * scale
    torch.testing.assert_close(ToRecGraph()(raw)["item"].x_m0, expected)


def test_constant_features_are_no_content():
    raw = make_data(1, missing=False)
    raw["item"].x_m0[2] = 0.1
    assert not ToRecGraph()(raw)["item"].x_m0[2].any()


@pytest.mark.parametrize("missing", [False, True])
def test_masks_and_means(missing):
    raw = make_data(2, missing)
    data = ToRecGraph()(raw)
    mask = torch.stack([item_mask(raw, name) for name in ("m0", "m1")], dim=1)
    mask = torch.cat([mask, mask.any(dim=1, keepdim=True)], dim=1)
    assert data["item"].mask.dtype == torch.bool
    assert torch.equal(data["item"].mask, mask)
    assert not missing or mask.any(dim=1).tolist() == [False] + [True] * 5

    r = dense_interactions(raw)
    count = r @ mask.float()
    assert torch.equal(data["user"].mask, count > 0)
    # A sum over neighbors, with the items' part of the weights taken back,
    # becomes a mean:
    x = torch.randn(NUM_ITEMS, 3)
    column = x * mask * data["item"].degree.sqrt().view(-1, 1)
    mean = normalized(raw) @ column * data["user"].scale
    torch.testing.assert_close(mean, r @ (x * mask) / count.clamp(min=1))
    # User 6 has no item:
    assert data["user"].scale[6].tolist() == [1.0] * 3


def test_whether_anything_is_missing():
    for num_modalities, missing, complete in (
        (2, False, True),
        (2, True, False),
        (0, False, False),
    ):
        raw = make_data(num_modalities, missing)
        assert ToRecGraph()(raw).is_complete is False  # For user 6.
        raw["user"].num_nodes = NUM_USERS - 1
        assert ToRecGraph()(raw).is_complete is complete

    # Users have all they could have, but one item lacks a modality:
    raw = make_data(2, missing=False)
    raw["user"].num_nodes = 2
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(NUM_ITEMS))
    raw[INTERACTS].edge_index = pairs.t().contiguous()
    assert ToRecGraph()(raw).is_complete is True
    raw["item"].mask_m1 = torch.arange(NUM_ITEMS) != 3
    data = ToRecGraph()(raw)
    assert bool(data["user"].mask.all())
    assert data.is_complete is False

    raw = make_data(1, missing=False)
    raw[INTERACTS].edge_index = torch.tensor([[2] * 6, list(range(6))])
    assert ToRecGraph()(raw).has_cold is False
    raw[INTERACTS].edge_index = torch.tensor([[2] * 5, list(range(5))])
    assert ToRecGraph()(raw).has_cold is True


def test_without_content():
    data = ToRecGraph()(make_data(0, missing=False))
    assert data.modalities == []
    assert data["item"].mask.tolist() == [[False]] * NUM_ITEMS
    assert data["user"].mask.tolist() == [[False]] * NUM_USERS
    assert data["user"].scale.tolist() == [[1.0]] * NUM_USERS


def test_reverse_relation_is_made_of_the_interactions():
    raw = make_data(1, missing=False)
    expected = ToRecGraph()(raw)
    raw[REVERSE].edge_index = torch.tensor([[0], [6]])
    assert_same_graph(ToRecGraph()(raw), expected)


def test_edge_index_as_input():
    raw = make_data(1, missing=False)
    expected = ToRecGraph()(raw)
    for edge_type in (INTERACTS, SIMILAR):
        edge_index = raw[edge_type].edge_index.contiguous()
        raw[edge_type].edge_index = EdgeIndex(edge_index)
    assert_same_graph(ToRecGraph()(raw), expected)


def test_other_stores_stay():
    raw = make_data(1, missing=False)
    val, test = torch.tensor([[0], [1]]), torch.tensor([[2], [3]])
    raw[INTERACTS].val_edge_label_index = val
    raw[INTERACTS].test_edge_label_index = test
    raw["item"].is_cold = torch.zeros(NUM_ITEMS, dtype=torch.bool)
    data = ToRecGraph()(raw)
    assert data[INTERACTS].val_edge_label_index is val
    assert data[INTERACTS].test_edge_label_index is test
    assert data["item"].is_cold is raw["item"].is_cold


def test_input_stays_as_it_was():
    raw = shuffle(make_data(2, missing=True))
    raw[REVERSE].edge_index = raw[INTERACTS].edge_index.flip(0)
    raw["item"].x_m0[0] = 7.0
    before = copy.deepcopy(raw)
    ToRecGraph()(raw)
    assert_same_graph(raw, before)
    assert "modalities" not in raw


def test_transposes():
    """Each direction of the interactions is the other's, so that none of them
    has one; feature graphs have their own.
    """
    data = ToRecGraph()(make_data(2, missing=True))
    assert data.is_symmetric
    assert torch.equal(dense(data[INTERACTS]), dense(data[REVERSE]).t())
    for edge_type in data.edge_types:
        store = data[edge_type]
        edge_index = store.edge_index
        assert edge_index._indptr is not None
        has_own = edge_type not in (INTERACTS, REVERSE)
        for cache in (edge_index._T_perm, edge_index._T_indptr):
            assert (cache is not None) == has_own
        for transpose in (False, True):
            found = to_csr(edge_index, store.edge_weight, transpose)
            expected = dense(store).t() if transpose else dense(store)
            assert torch.equal(found.to_dense(), expected)


def test_memory_of_sorted_interactions_is_shared():
    raw = make_data(2, missing=True)
    edge_index = raw[INTERACTS].edge_index = coalesce(raw[INTERACTS].edge_index)
    found = ToRecGraph()(raw)[INTERACTS].edge_index.as_tensor()
    assert found.data_ptr() == edge_index.data_ptr()
    last_first = edge_index.roll(1, dims=1)
    for same in (last_first, edge_index.t().contiguous().t()):
        raw[INTERACTS].edge_index = same
        other = ToRecGraph()(raw)[INTERACTS].edge_index.as_tensor()
        assert torch.equal(other, edge_index)


def drawn_batch():
    """What a loader draws for two users, by hand."""
    batch = HeteroData()
    batch["user"].n_id = torch.tensor([4, 1])
    batch["user"].degree = torch.tensor([3.0, 8.0])
    batch["item"].n_id = torch.tensor([7, 2, 5])
    batch["item"].degree = torch.tensor([4.0, 1.0, 6.0])
    batch["item"].degree_m0 = torch.tensor([6.0, 0.0, 1.0])
    batch["item"].mask = torch.tensor([[True] * 2, [False] * 2, [True] * 2])
    batch["item"].x_m0 = torch.tensor([[1.0, 5.0], [0.0, 0.0], [2.0, 2.0]])
    batch["similar_item"].n_id = torch.tensor([9, 2])
    batch["similar_item"].degree = torch.tensor([1.0, 1.0])
    # User 0 has two of three items drawn, user 1 one of eight:
    batch[REVERSE].edge_index = torch.tensor([[2, 0, 1], [0, 1, 0]])
    # Item 0 has one of four users drawn, item 2 two of six:
    batch[INTERACTS].edge_index = torch.tensor([[0, 0, 1], [2, 0, 2]])
    store = batch["similar_item", "similar_m0", "item"]
    store.edge_index = torch.tensor([[1, 0, 0], [2, 0, 2]])
    store.edge_weight = torch.tensor([0.25, 0.5, 0.125])
    return batch


def test_drawn_edges_stand_for_all():
    data = ToRecGraph()(drawn_batch())
    assert not data.is_symmetric
    # 1 / sqrt(d_u d_i), times the degree of the target over what was drawn:
    expected = torch.tensor(
        [
            [0.0, (3 * 1) ** -0.5 * 3 / 2, (3 * 6) ** -0.5 * 3 / 2],
            [(8 * 4) ** -0.5 * 8, 0.0, 0.0],
        ]
    )
    torch.testing.assert_close(dense(data[INTERACTS]), expected)
    expected = torch.tensor(
        [
            [(4 * 3) ** -0.5 * 4, 0.0],
            [0.0, 0.0],
            [(6 * 3) ** -0.5 * 6 / 2, (6 * 8) ** -0.5 * 6 / 2],
        ]
    )
    torch.testing.assert_close(dense(data[REVERSE]), expected)
    store = data["similar_item", "similar_m0", "item"]
    expected = torch.tensor([[0.5 * 6, 0.0, 0.125 / 2], [0.0, 0.0, 0.25 / 2]])
    torch.testing.assert_close(dense(store), expected)
    for store, order in zip(
        data.edge_stores, ("row", "row", "col"), strict=True
    ):
        assert store.edge_index.validate().sort_order == order
        assert store.edge_index._T_perm is not None


def test_content_of_a_drawn_batch():
    batch = drawn_batch()
    data = ToRecGraph()(batch)
    # Standardized once, in the whole graph:
    assert data["item"].x_m0 is batch["item"].x_m0
    assert data["item"].mask is batch["item"].mask
    # User 0 has drawn item 1, without content, and item 2; user 1 item 0:
    assert data["user"].mask.tolist() == [[True] * 2] * 2
    x = torch.tensor([[3.0], [9.0], [5.0]]) * data["item"].mask
    column = x * data["item"].degree.sqrt().view(-1, 1)
    mean = spmm(data[INTERACTS].edge_index, column, data[INTERACTS].edge_weight)
    torch.testing.assert_close(
        mean * data["user"].scale, torch.tensor([[5.0] * 2, [3.0] * 2])
    )
    assert data.has_cold is False
    # Of what is not drawn, nobody knows:
    assert data.is_complete is False
    batch["item"].mask = torch.ones(3, 2, dtype=torch.bool)
    assert ToRecGraph()(batch).is_complete is False
    batch["similar_item"].degree[1] = 0.0
    assert ToRecGraph()(batch).has_cold is True
    with pytest.raises(ValueError, match="already"):
        ToRecGraph()(data)


def test_bad_input():
    def make(**kwargs):
        raw = make_data(1, missing=False)
        for name, value in kwargs.items():
            raw[INTERACTS][name] = value
        return raw

    num_edges = make()[INTERACTS].edge_index.size(1)
    empty = torch.empty(2, 0, dtype=torch.long)
    for raw, message in (
        (make(edge_index=empty), "holds no training interaction"),
        (make(edge_index=empty[0]), r"\[2, num_inter.* \(got \[0\]\)"),
        (make(edge_index=torch.zeros(3, 4)), r"\(got \[3, 4\]\)"),
        (make(edge_index=torch.tensor([[0, 7], [0, 0]])), r"0 to 6 \(got 7\)"),
        (make(edge_index=torch.tensor([[0, 0], [6, 0]])), r"0 to 5 \(got 6\)"),
        (make(edge_index=torch.tensor([[0, -1], [6, 0]])), r"\(got -1\)"),
        (make(edge_weight=torch.ones(num_edges)), "weight must be removed"),
    ):
        with pytest.raises(ValueError, match=message):
            ToRecGraph()(raw)
    raw = make()
    del raw[INTERACTS]
    with pytest.raises(ValueError, match="holds no training interaction"):
        ToRecGraph()(raw)
    with pytest.raises(ValueError, match=r"graph of ToRecGraph\(\) already"):
        ToRecGraph()(ToRecGraph()(make()))


def test_last_of_several():
    raw = make_data(2, missing=False)
    both = Compose([FeatureGraph(k=2), ToRecGraph()])(raw)
    assert_same_graph(both, ToRecGraph()(FeatureGraph(k=2)(raw)))
    assert repr(ToRecGraph()) == "ToRecGraph()"


class Graphs(torch.utils.data.Dataset):
    """Gives a graph, which is then sent from one process to another."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.data


def save_and_load(data):
    file = io.BytesIO()
    torch.save(data, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def send(data):
    loader = DataLoader(Graphs(data), batch_size=None, num_workers=1)
    return list(loader)[1]


@pytest.mark.parametrize(
    "treat",
    [
        copy.copy,
        copy.deepcopy,
        lambda data: data.clone(),
        lambda data: data.to("cpu", non_blocking=True),
        lambda data: data.apply(lambda x: x.to("cpu", copy=True)),
        lambda data: data.contiguous(),
        lambda data: pickle.loads(pickle.dumps(data)),
        save_and_load,
        lambda data: data.clone().share_memory_(),
        send,
    ],
    ids=[
        "copy",
        "deepcopy",
        "clone",
        "to",
        "to_copy",
        "contiguous",
        "pickle",
        "save",
        "share_memory",
        "send",
    ],
)
def test_caches_survive(treat):
    """Pins how PyG treats an EdgeIndex, on which all models build."""
    raw = make_data(2, missing=True)
    data = ToRecGraph()(raw)
    found = treat(copy.copy(data))
    assert_same_graph(found, data)
    assert_same_products(found, raw)


@withDevice
def test_caches_survive_the_way_to_a_device(device):
    raw = make_data(2, missing=True)
    data = ToRecGraph()(raw)
    found = copy.copy(data).to(device)
    assert_same_products(found, raw)
    # The transform works on a device, too:
    assert_same_products(ToRecGraph()(copy.copy(raw).to(device)), raw)
    # The data set stays where it was:
    assert data[INTERACTS].edge_index.device.type == "cpu"
    assert data["item"].x_m0.device.type == "cpu"


def assert_same_products(data, raw):
    r = normalized(raw)
    matrices = {INTERACTS: r, REVERSE: r.t(), SIMILAR: dense_similar(raw)}
    for edge_type, matrix in matrices.items():
        store = data[edge_type]
        edge_index = store.edge_index
        is_row = edge_type != SIMILAR
        assert edge_index.sort_order == ("row" if is_row else "col")
        assert tuple(edge_index.sparse_size()) == tuple(matrix.shape)
        caches = [edge_index._indptr]
        if not is_row:
            caches += [edge_index._T_perm, edge_index._T_indptr]
            caches += [edge_index._T_index[0]]
        for cache in caches:
            assert type(cache) is torch.Tensor
            assert cache.device == store.edge_weight.device
        for transpose in (False, True):
            a = matrix.t() if transpose else matrix
            x = torch.randn(a.size(1), 3).to(cache.device).requires_grad_()
            weight = store.edge_weight.clone().requires_grad_()
            out = spmm(edge_index, x, weight, transpose)
            torch.testing.assert_close(out.detach().cpu(), a @ x.detach().cpu())
            grad = torch.randn_like(out)
            out.backward(grad)
            torch.testing.assert_close(x.grad.cpu(), a.t() @ grad.cpu())
            row, col = edge_index.as_tensor()
            if transpose:
                row, col = col, row
            expected = (grad[row] * x.detach()[col]).sum(dim=1)
            torch.testing.assert_close(weight.grad, expected)


def test_indices_of_32_bits():
    """Pairs are numbered up to the square of the nodes."""
    num_nodes = 50_000
    raw = HeteroData()
    raw["user"].num_nodes = raw["item"].num_nodes = num_nodes
    pairs = torch.randint(num_nodes, (2, 3000)).unique(dim=1)
    raw[INTERACTS].edge_index = pairs
    expected = ToRecGraph()(raw)
    raw[INTERACTS].edge_index = pairs.int()
    found = ToRecGraph()(raw)
    for edge_type in found.edge_types:
        store, other = found[edge_type], expected[edge_type]
        assert store.edge_index.dtype == torch.long
        assert torch.equal(store.edge_index, other.edge_index)
        assert torch.equal(store.edge_weight, other.edge_weight)


def test_weights_in_double_precision():
    raw = make_data(1, missing=False)
    store = raw["item", "similar_m0", "item"]
    expected = ToRecGraph()(raw)["item", "similar_m0", "item"].edge_weight
    store.edge_weight = store.edge_weight.double()
    found = ToRecGraph()(raw)["item", "similar_m0", "item"].edge_weight
    assert found.dtype == torch.float
    assert torch.equal(found, expected)

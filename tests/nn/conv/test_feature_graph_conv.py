import shutil

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.nn import HeteroConv, LGConv, SAGEConv, to_hetero
from torch_geometric.testing import assert_module
from torch_geometric.typing import WITH_TORCH_SPARSE, SparseTensor
from torch_geometric.utils import to_torch_csr_tensor, to_undirected

from tmfun_pyg.nn import FeatureGraphConv


@pytest.fixture
def graph():
    """A directed graph with an isolated node, and its dense matrix."""
    edge_index = torch.tensor([[0, 1, 2, 3, 0, 4], [1, 0, 1, 2, 3, 3]])
    edge_weight = torch.tensor([0.5, 1.5, 2.0, 0.25, 1.0, 3.0])
    dense = torch.zeros(6, 6)  # dense[i, j] is the weight from j to i.
    dense[edge_index[1], edge_index[0]] = edge_weight
    return edge_index, edge_weight, dense


def layouts(edge_index, edge_weight, size):
    """The same graph in every sparse layout, weights included."""
    n, m = size
    indices = edge_index.flip(0)
    coo = torch.sparse_coo_tensor(indices, edge_weight, (m, n)).coalesce()
    out = {"coo": coo, "csr": coo.to_sparse_csr(), "csc": coo.to_sparse_csc()}
    if WITH_TORCH_SPARSE:
        out["torch_sparse"] = SparseTensor(
            row=edge_index[1],
            col=edge_index[0],
            value=edge_weight,
            sparse_sizes=(m, n),
        )
    return out


def edge_indices(edge_index, edge_weight, size):
    """The same graph as EdgeIndex in every order, weights beside it."""
    out = {"unsorted": (EdgeIndex(edge_index, sparse_size=size), edge_weight)}
    for order, side in (("row", 0), ("col", 1)):
        perm = edge_index[side].argsort(stable=True)
        index = EdgeIndex(
            edge_index[:, perm], sparse_size=size, sort_order=order
        )
        out[order] = index, edge_weight[perm]
    out["cached"] = out["col"][0].clone().fill_cache_(), out["col"][1]
    return out


def dense_gate(conv, feat):
    """The gate, for those that are built with default arguments."""
    first, _, second = conv.gate
    hidden = feat @ first.weight.t() + first.bias
    hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
    out = hidden @ second.weight.t() + second.bias
    return 1 / (1 + torch.exp(-out))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("feat_channels", [None, 3])
def test_assert_module(graph, normalize, feat_channels):
    edge_index, _, _ = graph
    conv = FeatureGraphConv(4, feat_channels, normalize=normalize)
    assert str(conv) == f"FeatureGraphConv(4, feat_channels={feat_channels})"
    assert (len(list(conv.parameters())) == 0) == (feat_channels is None)
    # One node more than edges, which it takes for features of edges.
    x, feat = torch.randn(7, 4), torch.randn(7, 3)
    kwargs = {} if feat_channels is None else {"feat": feat}
    assert_module(conv, x, edge_index, expected_size=(7, 4), **kwargs)


@pytest.mark.parametrize("gated", [False, True])
def test_dense_reference_in_all_layouts(graph, gated):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4)
    conv = FeatureGraphConv(4, 3 if gated else None)
    feat = torch.randn(6, 3) if gated else None
    expected = dense @ (x * dense_gate(conv, feat) if gated else x)
    torch.testing.assert_close(conv(x, edge_index, edge_weight, feat), expected)
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, adj_t, feat=feat), expected)
    for ei, weight in edge_indices(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, ei, weight, feat), expected)


@pytest.mark.parametrize("order", ["unsorted", "row", "col"])
@pytest.mark.parametrize("normalize", [False, True])
def test_edge_index_without_its_size(order, normalize):
    """The last nodes have no edges, from which PyG derives a size."""
    edge_index = torch.tensor([[0, 1, 2, 2], [1, 0, 1, 0]])
    perm = torch.arange(4)
    if order != "unsorted":
        perm = edge_index[["row", "col"].index(order)].argsort()
    conv, x = FeatureGraphConv(3, normalize=normalize), torch.randn(5, 3)
    for target, size in ((x, None), (torch.randn(4, 3), None), (None, (5, 7))):
        index = EdgeIndex(
            edge_index[:, perm],
            sort_order=None if order == "unsorted" else order,
        )
        expected = conv((x, target), edge_index, size=size)
        assert len(expected) == (7 if target is None else len(target))
        for _ in range(2):  # The second time, PyG has derived a size.
            out = conv((x, target), index, size=size)
            torch.testing.assert_close(out, expected)
            index.get_sparse_size()
    with pytest.raises(ValueError, match=r"at most 2 source nodes.*\(got 3\)"):
        conv(x[:2], index)
    # What no size tells is not read out of bounds:
    for source, target, name in ((9, 1, "source"), (1, 9, "target")):
        far = torch.tensor([[0, source], [0, target]])
        index = EdgeIndex(far, sort_order=index.sort_order)
        with pytest.raises(ValueError, match=rf"5 {name} .* \(got 10\)"):
            conv((x, x), index)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_static_graph_in_all_layouts(graph, normalize, gated):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(4, 3 if gated else None, normalize=normalize)
    x, feat = torch.randn(2, 6, 4), torch.randn(6, 3) if gated else None
    expected = torch.stack(
        [conv(part, edge_index, edge_weight, feat) for part in x]
    )
    found = [conv(x, edge_index, edge_weight, feat)]
    for index, weight in edge_indices(edge_index, edge_weight, (6, 6)).values():
        found.append(conv(x, index, weight, feat))
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        found.append(conv(x, adj_t, feat=feat))
    for out in found:
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_half_precision_is_that_of_the_input(graph, dtype):
    edge_index, edge_weight, dense = graph
    x, conv = torch.randn(6, 4).to(dtype), FeatureGraphConv(4)
    ones = torch.ones_like(edge_weight)
    for matrix, weight in (
        (dense.ne(0).float(), None),
        (dense, edge_weight),
        (dense, edge_weight.to(dtype)),
    ):
        of_weight = dtype if weight is None else weight.dtype
        expected = (matrix @ x.float()).to(
            torch.promote_types(dtype, of_weight)
        )
        out = conv(x, edge_index, weight)
        torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)
        given = ones if weight is None else weight
        for index, w in edge_indices(edge_index, given, (6, 6)).values():
            out = conv(x, index, None if weight is None else w)
            near = 0.0 if index.is_sorted_by_col else 0.02
            torch.testing.assert_close(out, expected, rtol=near, atol=near)


def test_without_weights_all_edges_count_one(graph):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4)
    conv = FeatureGraphConv(4)
    expected = (dense > 0).float() @ x
    torch.testing.assert_close(conv(x, edge_index), expected)
    for ei, _ in edge_indices(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, ei), expected)


def test_gate_without_activation(graph):
    edge_index, edge_weight, dense = graph
    x, feat = torch.randn(6, 4), torch.randn(6, 3)
    conv = FeatureGraphConv(4, 3, act=None)
    first, second = conv.gate  # A product of two matrices in all.
    logit = (feat @ first.weight.t() + first.bias) @ second.weight.t()
    expected = dense @ (x * (logit + second.bias).sigmoid())
    torch.testing.assert_close(conv(x, edge_index, edge_weight, feat), expected)


@pytest.mark.parametrize("act", ["tanh", torch.nn.Tanh()])
def test_gate_with_another_activation(graph, act):
    edge_index, edge_weight, dense = graph
    x, feat = torch.randn(6, 4), torch.randn(6, 3)
    conv = FeatureGraphConv(4, 3, act=act)
    first, second = conv.gate[0], conv.gate[2]
    logit = (feat @ first.weight.t() + first.bias).tanh() @ second.weight.t()
    expected = dense @ (x * (logit + second.bias).sigmoid())
    torch.testing.assert_close(conv(x, edge_index, edge_weight, feat), expected)


def test_gate_is_computed_once_for_each_source_node():
    edge_index = torch.tensor([[0, 0, 0, 1], [0, 1, 2, 3]])
    conv = FeatureGraphConv(4, 3)
    shapes = []
    conv.gate.register_forward_hook(
        lambda module, args, out: shapes.append(tuple(args[0].shape))
    )
    x, feat = torch.randn(2, 4), torch.randn(2, 3)
    conv((x, None), edge_index, feat=feat, size=(2, 5))
    assert shapes == [(2, 3)]


def test_lazy_feature_size(graph):
    edge_index, edge_weight, _ = graph
    x, feat = torch.randn(6, 4), torch.randn(6, 3)
    conv = FeatureGraphConv(4, feat_channels=-1)
    out = conv(x, edge_index, edge_weight, feat)
    assert conv.gate[0].weight.shape == (4, 3)
    other = FeatureGraphConv(4, feat_channels=3)
    other.load_state_dict(conv.state_dict())
    torch.testing.assert_close(other(x, edge_index, edge_weight, feat), out)


def test_reset_parameters(graph):
    conv = FeatureGraphConv(4, 3)
    before = {k: v.clone() for k, v in conv.state_dict().items()}
    conv.reset_parameters()
    after = conv.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before)


def test_normalize_dense_reference_in_all_layouts(graph):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4)
    conv = FeatureGraphConv(4, normalize=True)
    in_degree, out_degree = dense.sum(dim=1), dense.sum(dim=0)
    scale = torch.outer(in_degree, out_degree).rsqrt()
    expected = torch.where(dense > 0, dense * scale, dense) @ x
    torch.testing.assert_close(conv(x, edge_index, edge_weight), expected)
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, adj_t), expected)
    for ei, weight in edge_indices(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, ei, weight), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float, torch.double])
def test_normalize_in_the_precision_of_the_nodes(graph, dtype):
    edge_index, _, dense = graph
    adj = dense.ne(0).to(torch.promote_types(dtype, torch.float))
    expected = adj / (adj.sum(1, True) * adj.sum(0)).sqrt().clamp(min=1)
    x = torch.randn(6, 4).to(dtype)
    expected = expected @ x.to(adj.dtype)
    every = [
        edge_index,
        *(e for e, _ in edge_indices(*graph[:2], (6, 6)).values()),
    ]
    if WITH_TORCH_SPARSE:
        row, col = edge_index.flip(0)
        every.append(SparseTensor(row=row, col=col, sparse_sizes=(6, 6)))
    for graph in every:
        out = FeatureGraphConv(4, normalize=True)(x, graph)
        exact = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.double else {}
        torch.testing.assert_close(out, expected.to(dtype), **exact)


def test_normalize_equals_lg_conv_on_an_undirected_graph(graph):
    edge_index, edge_weight = to_undirected(*graph[:2])
    x = torch.randn(6, 4)
    torch.testing.assert_close(
        FeatureGraphConv(4, normalize=True)(x, edge_index, edge_weight),
        LGConv()(x, edge_index, edge_weight),
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_bipartite_in_all_layouts(normalize, gated):
    edge_index = torch.tensor([[0, 1, 2, 3, 3], [0, 0, 1, 1, 0]])
    edge_weight = torch.rand(5) + 0.5
    x = torch.randn(4, 8), torch.randn(2, 8)
    conv = FeatureGraphConv(8, 3 if gated else None, normalize=normalize)
    dense = torch.zeros(2, 4)
    dense[edge_index[1], edge_index[0]] = edge_weight
    if normalize:
        scale = torch.outer(dense.sum(dim=1), dense.sum(dim=0)).rsqrt()
        dense = dense * scale
    feat = torch.randn(4, 3) if gated else None
    expected = dense @ (x[0] * dense_gate(conv, feat) if gated else x[0])
    feats = [feat]
    if gated:  # Those of target nodes are not read.
        feats += [(feat, None), (feat, torch.randn(2, 7))]
    for feat in feats:
        torch.testing.assert_close(
            conv(x, edge_index, edge_weight, feat), expected
        )
        torch.testing.assert_close(
            conv((x[0], None), edge_index, edge_weight, feat, size=(4, 2)),
            expected,
        )
        for adj_t in layouts(edge_index, edge_weight, (4, 2)).values():
            for pair in (x, (x[0], None)):
                torch.testing.assert_close(
                    conv(pair, adj_t, feat=feat), expected
                )
        graphs = edge_indices(edge_index, edge_weight, (4, 2))
        for ei, weight in graphs.values():
            for pair in (x, (x[0], None)):
                torch.testing.assert_close(
                    conv(pair, ei, weight, feat), expected
                )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("size", [(6, 6), (4, 7)])
def test_gradients_in_all_orders(normalize, size):
    """Also of a bipartite EdgeIndex, which PyG's own product does not have."""
    dense = torch.rand(size[1], size[0], dtype=torch.double)
    dense = dense.where(dense > 0.5, 0.0)
    dense[0] = 0.0
    edge_index = dense.nonzero().t().flip(0)
    edge_weight = dense[edge_index[1], edge_index[0]]
    conv = FeatureGraphConv(3, 2, normalize=normalize).double()
    x = torch.randn(size[0], 3, dtype=torch.double, requires_grad=True)
    feat = torch.randn(size[0], 2, dtype=torch.double, requires_grad=True)
    probe = torch.randn(size[1], 3, dtype=torch.double)

    weight = edge_weight.clone().requires_grad_()
    matrix = torch.zeros_like(dense).index_put(
        (edge_index[1], edge_index[0]), weight
    )
    if normalize:
        scale = torch.outer(matrix.sum(dim=1), matrix.sum(dim=0))
        scale = scale.where(scale > 0, 1.0).rsqrt()
        matrix = matrix * scale
    inputs = [x, feat, *conv.parameters()]
    out = matrix @ (x * dense_gate(conv, feat))
    *expected, of_weight = torch.autograd.grad(
        (out * probe).sum(), [*inputs, weight]
    )
    graphs = edge_indices(edge_index, torch.arange(len(weight)), size)
    graphs["plain"] = edge_index, torch.arange(len(weight))
    for index, perm in graphs.values():
        weight = edge_weight[perm].requires_grad_()
        found = conv((x, None), index, weight, feat, size=size)
        torch.testing.assert_close(found, out)
        *grads, grad = torch.autograd.grad(
            (found * probe).sum(), [*inputs, weight]
        )
        torch.testing.assert_close(grads, expected)
        torch.testing.assert_close(grad, of_weight[perm])


@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_of_features_and_edge_weights(graph, normalize):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(3, normalize=normalize)
    x = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    weight = edge_weight.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: conv(x, edge_index, w), (x, weight)
    )


def test_normalize_with_degrees_of_zero_has_finite_gradients(graph):
    edge_index, edge_weight, _ = graph
    edge_weight = edge_weight.where(edge_index[0] != 4, 0.0).requires_grad_()
    x = torch.randn(6, 4, requires_grad=True)
    out = FeatureGraphConv(4, normalize=True)(x, edge_index, edge_weight)
    out.pow(2).sum().backward()
    assert bool(edge_weight.grad.isfinite().all())
    assert torch.equal(x.grad[4], torch.zeros(4))


def test_gradients_of_sparse_values(graph):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(3)
    x = torch.randn(6, 3)
    weight = edge_weight.clone().requires_grad_()
    probe = torch.randn(6, 3)
    (conv(x, edge_index, weight) * probe).sum().backward()
    for name, adj_t in layouts(edge_index, edge_weight, (6, 6)).items():
        if name == "csc":  # torch has no gradient for its values.
            continue
        if name == "torch_sparse":
            value = adj_t.storage.value().clone().requires_grad_()
            (conv(x, adj_t.set_value(value)) * probe).sum().backward()
            dense = adj_t.set_value(value.grad, layout="coo").to_dense()
        else:
            adj_t = adj_t.detach().requires_grad_()
            (conv(x, adj_t) * probe).sum().backward()
            dense = adj_t.grad.to_dense()
        torch.testing.assert_close(
            dense[edge_index[1], edge_index[0]], weight.grad
        )


def test_undirected_edge_index_gradient(graph):
    edge_index, edge_weight = to_undirected(*graph[:2])
    perm = edge_index[1].argsort(stable=True)
    ei = EdgeIndex(
        edge_index[:, perm],
        sparse_size=(6, 6),
        sort_order="col",
        is_undirected=True,
    )
    weight = edge_weight[perm]
    probe = torch.randn(6, 4)
    grads = []
    for index, w in ((edge_index, edge_weight), (ei, weight)):
        x = torch.ones(6, 4, requires_grad=True)
        (FeatureGraphConv(4)(x, index, w) * probe).sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_node_permutation(graph):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(4, normalize=True)
    x = torch.randn(6, 4)
    perm = torch.randperm(6)  # Old node perm[i] becomes new node i.
    renamed = perm.argsort()[edge_index]
    torch.testing.assert_close(
        conv(x[perm], renamed, edge_weight),
        conv(x, edge_index, edge_weight)[perm],
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_bf16_autocast_sums_in_full_precision(graph, weighted):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4).bfloat16()
    conv = FeatureGraphConv(4)
    ei, weight = edge_indices(edge_index, edge_weight, (6, 6))["col"]
    if not weighted:
        weight, dense = None, dense.ne(0).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(x, ei, weight)
    assert out.dtype == (torch.float if weighted else torch.bfloat16)
    torch.testing.assert_close(out, (dense @ x.float()).to(out.dtype))


def test_bf16_autocast_with_a_gate_is_near(graph):
    edge_index, edge_weight, _ = graph
    x, feat = torch.randn(6, 4), torch.randn(6, 3)
    conv = FeatureGraphConv(4, 3)
    for index, weight in edge_indices(edge_index, edge_weight, (6, 6)).values():
        expected = conv(x, index, weight, feat)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = conv(x, index, weight, feat)
        torch.testing.assert_close(
            out, expected, rtol=0.05, atol=0.05, check_dtype=False
        )
        out.sum().backward()


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double])
@pytest.mark.parametrize("normalize", [False, True])
def test_sparse_matrices_of_another_precision(graph, dtype, normalize):
    edge_index, edge_weight, _ = graph
    x, conv = torch.randn(6, 4).to(dtype), FeatureGraphConv(4, None, "relu")
    conv.normalize = normalize
    expected = conv(x.double(), edge_index, edge_weight).to(dtype)
    near = {"rtol": 1e-6, "atol": 1e-6} if dtype == torch.double else {}
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, adj_t), expected, **near)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(conv(x, adj_t), expected, **near)


def test_gradients_of_sparse_values_of_another_precision(graph):
    edge_index, edge_weight, _ = graph
    x, conv = torch.randn(6, 4, dtype=torch.double), FeatureGraphConv(4)
    weight = edge_weight.clone().requires_grad_()
    conv(x, edge_index, weight).square().sum().backward()
    csr = layouts(edge_index, edge_weight, (6, 6))["csr"]
    value = csr.values().clone().requires_grad_()
    parts = csr.crow_indices(), csr.col_indices(), value
    adj_t = torch.sparse_csr_tensor(*parts, size=csr.shape)
    conv(x, adj_t).square().sum().backward()
    parts = csr.crow_indices(), csr.col_indices(), value.grad
    dense = torch.sparse_csr_tensor(*parts, size=csr.shape).to_dense()
    torch.testing.assert_close(dense[edge_index[1], edge_index[0]], weight.grad)


@pytest.fixture
def hetero_graph():
    """Users and items: features, edges, weights, and dense matrices."""
    num_nodes = {"user": 3, "item": 6}
    x = {name: torch.randn(size, 4) for name, size in num_nodes.items()}
    edge_index, edge_weight, dense = {}, {}, {}
    for relation in (
        ("item", "similar_visual", "item"),
        ("item", "similar_textual", "item"),
        ("user", "interacts", "item"),
        ("item", "rev_interacts", "user"),
    ):
        size = num_nodes[relation[2]], num_nodes[relation[0]]
        dense[relation] = torch.rand(size).where(torch.rand(size) < 0.5, 0.0)
        edge_index[relation] = dense[relation].nonzero().t().flip(0)
        src, dst = edge_index[relation]
        edge_weight[relation] = dense[relation][dst, src]
    return x, edge_index, edge_weight, dense


def test_inside_hetero_conv(hetero_graph):
    """Weights and features are keyed by relation, so that layers that take
    neither are not given any.
    """
    x, edge_index, edge_weight, dense = hetero_graph
    feat = {
        ("item", "similar_visual", "item"): torch.randn(6, 3),
        ("item", "similar_textual", "item"): torch.randn(6, 2),
    }
    weights = {relation: edge_weight[relation] for relation in feat}
    convs = {
        relation: FeatureGraphConv(4, feat[relation].size(1))
        if relation in feat
        else SAGEConv(4, 4)
        for relation in dense
    }
    conv = HeteroConv(convs)
    out = conv(x, edge_index, edge_weight_dict=weights, feat_dict=feat)

    expected = {"user": 0, "item": 0}
    for relation, layer in convs.items():
        src, _, dst = relation
        if relation in feat:
            gate = dense_gate(layer, feat[relation])
            message = dense[relation] @ (x[src] * gate)
        else:
            message = layer((x[src], x[dst]), edge_index[relation])
        expected[dst] = expected[dst] + message
    torch.testing.assert_close(out, expected)


class SmallGNN(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1 = torch.nn.Linear(4, 5)
        self.conv1 = FeatureGraphConv(5, 3)
        self.conv2 = FeatureGraphConv(5, normalize=True)
        self.lin2 = torch.nn.Linear(5, 2)

    def forward(self, x, feat, edge_index, edge_weight):
        x = self.lin1(x)
        x = x + self.conv1(x, edge_index, edge_weight, feat).relu()
        return self.lin2(self.conv2(x, edge_index, edge_weight))


def test_under_to_hetero(hetero_graph):
    """Features are those of nodes there, and come in pairs."""
    x, edge_index, edge_weight, dense = hetero_graph
    feat = {name: torch.randn(len(value), 3) for name, value in x.items()}
    model = to_hetero(SmallGNN(), (list(x), list(dense)), aggr="sum")
    out = model(x, feat, edge_index, edge_weight)

    def sum_over_relations(step):
        out = dict.fromkeys(x, 0)
        for relation, matrix in dense.items():
            out[relation[2]] = out[relation[2]] + step(relation, matrix)
        return out

    def gated(relation, matrix):
        src = relation[0]
        layer = model.conv1["__".join(relation)]
        return matrix @ (h[src] * dense_gate(layer, feat[src]))

    def normalized(relation, matrix):
        scale = torch.outer(matrix.sum(dim=1), matrix.sum(dim=0)).rsqrt()
        return torch.where(matrix > 0, matrix * scale, matrix) @ h[relation[0]]

    h = {name: model.lin1[name](value) for name, value in x.items()}
    messages = sum_over_relations(gated)
    h = {name: h[name] + messages[name].relu() for name in h}
    h = sum_over_relations(normalized)
    expected = {name: model.lin2[name](value) for name, value in h.items()}
    torch.testing.assert_close(out, expected)

    sum(value.sum() for value in out.values()).backward()
    for name in x:
        assert model.lin1[name].weight.grad.abs().sum() > 0


def assert_compiles(conv, x, *args, **options):
    """Compares value and gradient of a compiled layer with those of eager."""
    torch.compiler.reset()
    results = []
    # Compiled first, before eager mode leaves anything in caches of matrices:
    for layer in (torch.compile(conv, **options), conv):
        y = x.clone().requires_grad_()
        out = layer(y, *args)
        out.square().sum().backward()
        results.append((out.detach(), y.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))),
    reason="torch.compile needs a C++ compiler",
)
def test_compiled_without_graph_breaks(graph):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(4, 3, normalize=True)
    x, feat = torch.randn(6, 4), torch.randn(6, 3)
    assert_compiles(conv, x, edge_index, edge_weight, feat, fullgraph=True)


@pytest.mark.parametrize("gated", [False, True])
def test_compiled_in_all_layouts(graph, gated):
    # Sparse products stay eager: what is left needs no C++ compiler.
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(4, 3 if gated else None, normalize=not gated)
    feat = torch.randn(6, 3) if gated else None
    x = torch.randn(6, 4)
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        assert_compiles(conv, x, adj_t, None, feat, backend="aot_eager")
    args = edge_indices(edge_index, edge_weight, (6, 6))["col"]
    assert_compiles(conv, x, *args, feat, backend="aot_eager")


def test_explains_edges_by_messages(graph):
    edge_index, edge_weight, dense = graph
    conv = FeatureGraphConv(4)
    conv.explain = True
    conv._edge_mask = torch.full((6,), 100.0)  # A mask that lets all pass.
    conv._apply_sigmoid = True
    x = torch.randn(6, 4)
    torch.testing.assert_close(conv(x, edge_index, edge_weight), dense @ x)


def test_errors(graph):
    edge_index, edge_weight, _ = graph
    x, feat = torch.randn(6, 4), torch.randn(6, 3)
    adj_t = to_torch_csr_tensor(edge_index, size=(6, 6))
    with pytest.raises(ValueError, match="together with a sparse matrix"):
        FeatureGraphConv(4)(x, adj_t, edge_weight)
    with pytest.raises(ValueError, match="'normalize' needs 'size'"):
        FeatureGraphConv(4, normalize=True)((x, None), edge_index)
    num_edges = edge_weight.numel()
    orders = edge_indices(edge_index, edge_weight, (6, 6)).values()
    for index in (edge_index, *(index for index, _ in orders)):
        for weight in (
            edge_weight[:1],
            edge_weight[0],
            torch.cat([edge_weight, edge_weight]),
            edge_weight.view(-1, 1),
        ):
            message = rf"'edge_weight' must be of shape \[{num_edges}\] \(got"
            with pytest.raises(ValueError, match=message):
                FeatureGraphConv(4)(x, index, weight)
    for index, weight in orders:
        for size in ((6, 7), (7, 6)):
            with pytest.raises(ValueError, match=r"'size' .* and 6 nodes in"):
                FeatureGraphConv(4)((x, x), index, weight, size=size)
    for conv in (FeatureGraphConv(4), FeatureGraphConv(4, 3)):
        given = None if conv.gate is None else feat
        for channels in (1, 5):
            wide = torch.randn(6, channels)
            with pytest.raises(ValueError, match=r"'x' must have 4 channels"):
                conv(wide, edge_index, feat=given)
    with pytest.raises(ValueError, match=r"of the 6 source nodes \(got 1\)"):
        FeatureGraphConv(4, 3)(x, edge_index, feat=feat[:1])
    with pytest.raises(ValueError, match=r"'channels' .* whole .*\(got 2.5\)"):
        FeatureGraphConv(2.5)
    for missing in (None, (None, feat)):
        with pytest.raises(ValueError, match=r"'feat' must be given .*=3"):
            FeatureGraphConv(4, 3)(x, edge_index, feat=missing)
    with pytest.raises(ValueError, match="'feat' must not be given"):
        FeatureGraphConv(4)(x, edge_index, feat=feat)
    with pytest.raises(ValueError, match=r"'node_dim' must be -2 \(got 0\)"):
        FeatureGraphConv(4, node_dim=0)
    with pytest.raises(ValueError, match="'flow' must be"):
        FeatureGraphConv(4, flow="target_to_source")
    with pytest.raises(ValueError, match=r"'channels' .* 1 \(got 0\)"):
        FeatureGraphConv(0)
    for size in (0, -2):
        with pytest.raises(ValueError, match="'feat_channels' must be at lea"):
            FeatureGraphConv(4, size)

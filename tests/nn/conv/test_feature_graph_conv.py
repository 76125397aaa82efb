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
    out = {
        "coo": coo,
        "csr": coo.to_sparse_csr(),
        "csc": coo.to_sparse_csc(),
    }
    if WITH_TORCH_SPARSE:
        out["torch_sparse"] = SparseTensor(
            row=edge_index[1],
            col=edge_index[0],
            value=edge_weight,
            sparse_sizes=(m, n),
        )
    return out


def sorted_edge_index(edge_index, edge_weight, size, **kwargs):
    out, perm = EdgeIndex(edge_index, sparse_size=size, **kwargs).sort_by(
        "col"
    )
    return out, edge_weight if perm is None else edge_weight[perm]


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_assert_module(graph, num_layers, residual, normalize):
    edge_index, _, _ = graph
    conv = FeatureGraphConv(num_layers, normalize, residual)
    assert str(conv) == f"FeatureGraphConv(num_layers={num_layers})"
    assert list(conv.parameters()) == []
    x = torch.randn(6, 4)
    assert_module(conv, x, edge_index, expected_size=(6, 4))


def test_dense_reference_in_all_layouts(graph):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4)
    conv = FeatureGraphConv(num_layers=2)
    expected = dense @ dense @ x
    torch.testing.assert_close(conv(x, edge_index, edge_weight), expected)
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, adj_t), expected)
    ei, weight = sorted_edge_index(edge_index, edge_weight, (6, 6))
    torch.testing.assert_close(conv(x, ei, weight), expected)


def test_residual(graph):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4)
    conv = FeatureGraphConv(num_layers=2, residual=True)
    step = torch.eye(6) + dense
    torch.testing.assert_close(
        conv(x, edge_index, edge_weight), step @ step @ x
    )


def test_normalize_dense_reference_in_all_layouts(graph):
    edge_index, edge_weight, dense = graph
    x = torch.randn(6, 4)
    conv = FeatureGraphConv(normalize=True)
    in_degree, out_degree = dense.sum(dim=1), dense.sum(dim=0)
    scale = torch.outer(in_degree, out_degree).rsqrt()
    expected = torch.where(dense > 0, dense * scale, dense) @ x
    torch.testing.assert_close(conv(x, edge_index, edge_weight), expected)
    for adj_t in layouts(edge_index, edge_weight, (6, 6)).values():
        torch.testing.assert_close(conv(x, adj_t), expected)
    ei, weight = sorted_edge_index(edge_index, edge_weight, (6, 6))
    torch.testing.assert_close(conv(x, ei, weight), expected)


def test_normalize_equals_lg_conv_on_an_undirected_graph(graph):
    edge_index, edge_weight = to_undirected(*graph[:2])
    x = torch.randn(6, 4)
    torch.testing.assert_close(
        FeatureGraphConv(normalize=True)(x, edge_index, edge_weight),
        LGConv()(x, edge_index, edge_weight),
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_bipartite_in_all_layouts(normalize):
    edge_index = torch.tensor([[0, 1, 2, 3, 3], [0, 0, 1, 1, 0]])
    edge_weight = torch.rand(5) + 0.5
    x = torch.randn(4, 8), torch.randn(2, 8)
    conv = FeatureGraphConv(normalize=normalize)
    dense = torch.zeros(2, 4)
    dense[edge_index[1], edge_index[0]] = edge_weight
    if normalize:
        scale = torch.outer(dense.sum(dim=1), dense.sum(dim=0)).rsqrt()
        dense = dense * scale
    expected = dense @ x[0]
    torch.testing.assert_close(conv(x, edge_index, edge_weight), expected)
    torch.testing.assert_close(
        conv((x[0], None), edge_index, edge_weight, size=(4, 2)), expected
    )
    for adj_t in layouts(edge_index, edge_weight, (4, 2)).values():
        torch.testing.assert_close(conv(x, adj_t), expected)
        torch.testing.assert_close(conv((x[0], None), adj_t), expected)
    ei, weight = sorted_edge_index(edge_index, edge_weight, (4, 2))
    torch.testing.assert_close(conv((x[0], None), ei, weight), expected)

    residual = FeatureGraphConv(normalize=normalize, residual=True)
    torch.testing.assert_close(
        residual(x, edge_index, edge_weight), expected + x[1]
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_of_features_and_edge_weights(graph, normalize):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(num_layers=2, normalize=normalize)
    x = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    weight = edge_weight.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: conv(x, edge_index, w), (x, weight)
    )


def test_gradients_of_sparse_values(graph):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv()
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


def test_adj_gives_the_gradient_of_autograd(graph):
    edge_index, edge_weight, dense = graph
    probe = torch.randn(6, 4)
    x = torch.randn(6, 4, requires_grad=True)
    (dense @ dense @ x * probe).sum().backward()
    forward = layouts(edge_index, edge_weight, (6, 6))
    backward = layouts(edge_index.flip(0), edge_weight, (6, 6))
    conv = FeatureGraphConv(num_layers=2)
    for name in forward:
        y = x.detach().clone().requires_grad_()
        out = conv(y, forward[name], adj=backward[name])
        torch.testing.assert_close(out, dense @ dense @ x)
        (out * probe).sum().backward()
        torch.testing.assert_close(y.grad, x.grad)


def test_undirected_edge_index_gradient(graph):
    edge_index, edge_weight = to_undirected(*graph[:2])
    ei, weight = sorted_edge_index(
        edge_index, edge_weight, (6, 6), is_undirected=True
    )
    probe = torch.randn(6, 4)
    grads = []
    for index, w in ((edge_index, edge_weight), (ei, weight)):
        x = torch.ones(6, 4, requires_grad=True)
        (FeatureGraphConv()(x, index, w) * probe).sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_node_permutation(graph):
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(num_layers=2, normalize=True)
    x = torch.randn(6, 4)
    perm = torch.randperm(6)  # Old node perm[i] becomes new node i.
    renamed = perm.argsort()[edge_index]
    torch.testing.assert_close(
        conv(x[perm], renamed, edge_weight),
        conv(x, edge_index, edge_weight)[perm],
    )


def test_bf16_autocast_sums_in_full_precision(graph):
    edge_index, edge_weight, dense = graph
    adj_t = layouts(edge_index, edge_weight, (6, 6))["csr"]
    x = torch.randn(6, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = FeatureGraphConv()(x, adj_t, adj=adj_t)
    assert out.dtype == torch.float
    torch.testing.assert_close(out, dense @ x.float())


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


@pytest.mark.parametrize("num_layers", [1, 2])
def test_inside_hetero_conv(hetero_graph, num_layers):
    x, edge_index, edge_weight, dense = hetero_graph
    # The relations between users and items are left to other layers, which
    # do not take weights:
    similar = [relation for relation in dense if relation[0] == relation[2]]
    weights = {relation: edge_weight[relation] for relation in similar}
    convs = {
        relation: FeatureGraphConv(num_layers)
        if relation in similar
        else SAGEConv(4, 4)
        for relation in dense
    }
    out = HeteroConv(convs)(x, edge_index, edge_weight_dict=weights)

    expected = {"user": 0, "item": 0}
    for relation, conv in convs.items():
        src, _, dst = relation
        if relation in similar:
            step = torch.linalg.matrix_power(dense[relation], num_layers)
            message = step @ x[src]
        else:
            message = conv((x[src], x[dst]), edge_index[relation])
        expected[dst] = expected[dst] + message
    torch.testing.assert_close(out, expected)


class SmallGNN(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1 = torch.nn.Linear(4, 5)
        self.conv1 = FeatureGraphConv(residual=True)
        self.conv2 = FeatureGraphConv(normalize=True)
        self.lin2 = torch.nn.Linear(5, 2)

    def forward(self, x, edge_index, edge_weight):
        x = self.conv1(self.lin1(x), edge_index, edge_weight).relu()
        return self.lin2(self.conv2(x, edge_index, edge_weight))


def test_under_to_hetero(hetero_graph):
    x, edge_index, edge_weight, dense = hetero_graph
    model = to_hetero(SmallGNN(), (list(x), list(dense)), aggr="sum")
    out = model(x, edge_index, edge_weight)

    def sum_over_relations(h, step):
        out = dict.fromkeys(h, 0)
        for relation, matrix in dense.items():
            src, _, dst = relation
            out[dst] = out[dst] + step(matrix, h[src], h[dst])
        return out

    def normalized(matrix):
        scale = torch.outer(matrix.sum(dim=1), matrix.sum(dim=0)).rsqrt()
        return torch.where(matrix > 0, matrix * scale, matrix)

    h = {name: model.lin1[name](value) for name, value in x.items()}
    h = sum_over_relations(h, lambda a, src, dst: a @ src + dst)
    h = {name: value.relu() for name, value in h.items()}
    h = sum_over_relations(h, lambda a, src, _: normalized(a) @ src)
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
    conv = FeatureGraphConv(num_layers=2, normalize=True, residual=True)
    x = torch.randn(6, 4)
    assert_compiles(conv, x, edge_index, edge_weight, fullgraph=True)


@pytest.mark.parametrize("normalize", [False, True])
def test_compiled_in_all_layouts(graph, normalize):
    # Sparse products stay eager: what is left needs no C++ compiler.
    edge_index, edge_weight, _ = graph
    conv = FeatureGraphConv(num_layers=2, normalize=normalize)
    x = torch.randn(6, 4)
    forward = layouts(edge_index, edge_weight, (6, 6))
    backward = layouts(edge_index.flip(0), edge_weight, (6, 6))
    for name, adj_t in forward.items():
        assert_compiles(conv, x, adj_t, backend="aot_eager")
        if not normalize:
            args = (adj_t, None, None, backward[name])
            assert_compiles(conv, x, *args, backend="aot_eager")
    args = sorted_edge_index(edge_index, edge_weight, (6, 6))
    assert_compiles(conv, x, *args, backend="aot_eager")


def test_explains_edges_by_messages(graph):
    edge_index, edge_weight, dense = graph
    conv = FeatureGraphConv()
    conv.explain = True
    conv._edge_mask = torch.full((6,), 100.0)  # A mask that lets all pass.
    conv._apply_sigmoid = True
    x = torch.randn(6, 4)
    torch.testing.assert_close(conv(x, edge_index, edge_weight), dense @ x)


def test_errors(graph):
    edge_index, edge_weight, _ = graph
    x = torch.randn(6, 4)
    adj_t = to_torch_csr_tensor(edge_index, size=(6, 6))
    with pytest.raises(ValueError, match="'num_layers' must be at least 1"):
        FeatureGraphConv(num_layers=0)
    with pytest.raises(ValueError, match="beside a sparse matrix"):
        FeatureGraphConv()(x, adj_t, edge_weight)
    with pytest.raises(ValueError, match="must be 1 for bipartite"):
        FeatureGraphConv(num_layers=2)((x, x), edge_index)
    with pytest.raises(ValueError, match="features of target nodes"):
        FeatureGraphConv(residual=True)((x, None), edge_index)
    with pytest.raises(ValueError, match="'normalize' needs 'size'"):
        FeatureGraphConv(normalize=True)((x, None), edge_index)
    with pytest.raises(ValueError, match="'adj' goes with a sparse matrix"):
        FeatureGraphConv()(x, edge_index, adj=adj_t)
    with pytest.raises(ValueError, match="not to be normalized"):
        FeatureGraphConv(normalize=True)(x, adj_t, adj=adj_t)

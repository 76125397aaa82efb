import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.transforms import AddUsers, ToRecGraph
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.schema import INTERACTS, REVERSE

SIDES = ("user", INTERACTS), ("item", REVERSE)


def dense(store):
    matrix = torch.zeros(store.edge_index.sparse_size()).to(store.edge_weight)
    matrix[tuple(store.edge_index.as_tensor())] = store.edge_weight
    return matrix


def make_graph(kind):
    data = ToRecGraph()(make_data(1, missing=False))
    if kind == "users who never send":
        edge_index = torch.tensor([[0, 0, 1], [1, 3, 0]])
        return AddUsers(edge_index, torch.tensor([-1, 2]))(data)
    if kind == "weights of their own":
        del data.is_symmetric  # As in a graph that was made by hand.
        for edge_type in (INTERACTS, REVERSE):
            store = data[edge_type]
            store.edge_weight = torch.rand_like(store.edge_weight)
    return data


@pytest.mark.parametrize(("node_type", "edge_type"), SIDES)
@pytest.mark.parametrize(
    "kind", ["whole", "users who never send", "weights of their own"]
)
def test_dense_reference(kind, node_type, edge_type):
    torch.manual_seed(0)
    data = make_graph(kind)
    for relation in (INTERACTS, REVERSE):
        data[relation].edge_weight = data[relation].edge_weight.double()
    matrix = dense(data[edge_type])
    x = torch.randn(matrix.size(1), 3, dtype=torch.double, requires_grad=True)
    out = interaction_step(data, node_type, x)
    torch.testing.assert_close(out, matrix @ x)
    # Neither contiguous, nor in the same precision:
    probe = torch.randn(3, matrix.size(0)).double().t()
    (grad,) = torch.autograd.grad((out * probe).sum(), x)
    torch.testing.assert_close(grad, matrix.t() @ probe)
    assert torch.autograd.gradgradcheck(
        lambda x: interaction_step(data, node_type, x).square(), x
    )


def test_no_transpose_is_made():
    data = make_graph("whole")
    tables = [
        torch.randn(size, 2, requires_grad=True)
        for size in (NUM_USERS, NUM_ITEMS)
    ]
    for (node_type, _), other in zip(SIDES, reversed(tables), strict=True):
        interaction_step(data, node_type, other).sum().backward()
    for edge_type in (INTERACTS, REVERSE):
        assert data[edge_type].edge_index._T_perm is None


def test_precision_of_the_graph_under_autocast():
    data = make_graph("whole")
    x = torch.randn(NUM_ITEMS, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = interaction_step(data, "user", x.bfloat16())
    assert out.dtype == torch.float
    expected = dense(data[INTERACTS]) @ x.bfloat16().float()
    torch.testing.assert_close(out, expected)

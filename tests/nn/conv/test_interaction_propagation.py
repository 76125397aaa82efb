import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, dense_light_gcn, make_data

from tmfun_pyg.nn import InteractionPropagation
from tmfun_pyg.transforms import ToRecGraph


@pytest.fixture
def tables():
    torch.manual_seed(0)
    sizes = NUM_USERS, NUM_ITEMS
    return [torch.randn(size, 4, requires_grad=True) for size in sizes]


@pytest.mark.parametrize("num_layers", [0, 1, 2, 3, 6])
def test_dense_reference(tables, num_layers):
    data = make_data(1, missing=False)
    conv = InteractionPropagation(num_layers)
    assert str(conv) == f"InteractionPropagation(num_layers={num_layers})"
    before = [table.detach().clone() for table in tables]
    outs = conv(*tables, ToRecGraph()(data))
    out = torch.cat(outs)
    expected = dense_light_gcn(data, *tables, num_layers)
    torch.testing.assert_close(out, expected)
    probe = torch.randn(4, NUM_USERS + NUM_ITEMS).t()  # Not contiguous.
    torch.testing.assert_close(
        torch.autograd.grad((out * probe).sum(), tables),
        torch.autograd.grad((expected * probe).sum(), tables),
    )
    # Nothing is written to what is propagated, nor handed on as it is:
    for table, values, own in zip(tables, before, outs, strict=True):
        assert torch.equal(table, values)
        assert own.data_ptr() != table.data_ptr()


def test_each_direction_has_a_graph_of_its_own(tables):
    """In a sampled batch they are not each other's transpose."""
    data = ToRecGraph()(make_data(1, missing=False))
    data.is_symmetric = False
    matrices = []
    for store in (
        data["user", "interacts", "item"],
        data["item", "rev_interacts", "user"],
    ):
        store.edge_weight = torch.rand_like(store.edge_weight)
        matrix = torch.zeros(store.edge_index.sparse_size())
        matrix[tuple(store.edge_index.as_tensor())] = store.edge_weight
        matrices.append(matrix)
    to_user, to_item = matrices
    user, item = tables
    found = InteractionPropagation(2)(user, item, data)
    expected = (
        (user + to_user @ item + to_user @ (to_item @ user)) / 3,
        (item + to_item @ user + to_item @ (to_user @ item)) / 3,
    )
    torch.testing.assert_close(found, expected)
    probes = [torch.randn_like(table) for table in tables]
    torch.testing.assert_close(
        torch.autograd.grad(found, tables, probes),
        torch.autograd.grad(expected, tables, probes),
    )


def test_second_derivatives():
    data = ToRecGraph()(make_data(1, missing=False))
    for relation in (
        ("user", "interacts", "item"),
        ("item", "rev_interacts", "user"),
    ):
        data[relation].edge_weight = data[relation].edge_weight.double()
    conv = InteractionPropagation(2)
    tables = [
        torch.randn(n, 2, dtype=torch.double, requires_grad=True)
        for n in (data["user"].num_nodes, data["item"].num_nodes)
    ]
    assert torch.autograd.gradgradcheck(
        lambda user, item: [x**2 for x in conv(user, item, data)], tables
    )


def test_one_side_without_gradient(tables):
    data = ToRecGraph()(make_data(1, missing=False))
    user, item = tables
    out, _ = InteractionPropagation(1)(user.detach(), item, data)
    out.sum().backward()
    assert item.grad.count_nonzero() > 0


def test_bf16_autocast_sums_in_full_precision(tables):
    data = ToRecGraph()(make_data(1, missing=False))
    conv = InteractionPropagation(2)
    halves = [table.bfloat16() for table in tables]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = conv(*halves, data)
    assert found[0].dtype == torch.float
    torch.testing.assert_close(
        found, conv(*(half.float() for half in halves), data)
    )


def test_errors():
    with pytest.raises(ValueError, match=r"'num_layers' .* \(got -1\)"):
        InteractionPropagation(-1)

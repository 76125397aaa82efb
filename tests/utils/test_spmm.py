import copy
import pickle

import pytest
import torch
from torch_geometric import EdgeIndex

from tmfun_pyg.utils.spmm import sddmm, spmm, to_csr

ORDERS = ["row", "col"]
SIZES = [(5, 5), (4, 6), (6, 1)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def draw(size, order, share=0.5, dtype=torch.double):
    """A graph, its weights, and both as a dense matrix."""
    dense = torch.rand(size, dtype=dtype)
    dense = dense.where(dense < share, 0.0)
    dense[0] = 0.0  # No entry in a row.
    place = dense.nonzero().t()
    place = place[:, torch.randperm(place.size(1))]
    key = place[0 if order == "row" else 1]
    place = place[:, key.argsort()]
    edge_index = EdgeIndex(place, sparse_size=size, sort_order=order)
    return edge_index, dense[place[0], place[1]], dense


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_spmm(order, size, transpose, cached):
    edge_index, weight, dense = draw(size, order)
    if cached:
        edge_index.fill_cache_()
    matrix = dense.t() if transpose else dense
    x = torch.randn(matrix.size(1), 3, dtype=torch.double, requires_grad=True)
    out = spmm(edge_index, x, weight, transpose)
    torch.testing.assert_close(out, matrix @ x)
    probe = torch.randn_like(out)
    found = torch.autograd.grad(out, x, probe)[0]
    torch.testing.assert_close(found, matrix.t() @ probe)

    ones = matrix.ne(0).double()
    out = spmm(edge_index, x, transpose=transpose)
    torch.testing.assert_close(out, ones @ x)
    found = torch.autograd.grad(out, x, probe)[0]
    torch.testing.assert_close(found, ones.t() @ probe)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("transpose", [False, True])
def test_gradient_of_weights(order, size, transpose):
    edge_index, weight, _ = draw(size, order)
    num_columns = size[0] if transpose else size[1]
    x = torch.randn(num_columns, 3, dtype=torch.double, requires_grad=True)
    weight.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda w, x: spmm(edge_index, x, w, transpose), (weight, x)
    )
    assert torch.autograd.gradgradcheck(
        lambda w, x: spmm(edge_index, x, w, transpose), (weight, x)
    )
    # Of the weights alone, in the order of the edges:
    out = spmm(edge_index, x.detach(), weight, transpose)
    probe = torch.randn_like(out)
    grad = torch.autograd.grad(out, weight, probe)[0]
    row, col = edge_index.as_tensor()
    rows, columns = (x, probe) if transpose else (probe, x)
    torch.testing.assert_close(grad, (rows[row] * columns[col]).sum(dim=1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_sddmm(order, size):
    edge_index, _, _ = draw(size, order)
    x, y = (
        torch.randn(n, 3, dtype=torch.double, requires_grad=True) for n in size
    )
    row, col = edge_index.as_tensor()
    torch.testing.assert_close(sddmm(edge_index, x, y), (x @ y.t())[row, col])
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x, y: sddmm(edge_index, x, y), (x, y))


@pytest.mark.parametrize("order", ORDERS)
def test_of_a_tensor_with_itself(order):
    """As learned graphs use it: both gradients meet in one tensor."""
    edge_index, _, _ = draw((5, 5), order)
    x = torch.randn(5, 3, dtype=torch.double, requires_grad=True)

    def convolve(x):
        return spmm(edge_index, x, sddmm(edge_index, x, x).clamp(min=0.0))

    assert torch.autograd.gradcheck(convolve, x)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("transpose", [False, True])
def test_gradients_that_are_not_contiguous(order, transpose):
    """That of a sum is one number, expanded; that of a transpose strided."""
    edge_index, weight, dense = draw((4, 6), order)
    matrix = dense.t() if transpose else dense
    x = torch.randn(3, matrix.size(1), dtype=torch.double).t()
    x.requires_grad_()
    probe = torch.randn(3, matrix.size(0), dtype=torch.double)
    weight.requires_grad_()
    for function in (torch.sum, lambda out: (out.t() * probe).sum()):
        loss = function(spmm(edge_index, x, weight, transpose))
        found = torch.autograd.grad(loss, (x, weight))
        expected = torch.zeros_like(dense).index_put(
            tuple(edge_index.as_tensor()), weight
        )
        expected = expected.t() if transpose else expected
        expected = torch.autograd.grad(function(expected @ x), (x, weight))
        torch.testing.assert_close(found, expected)
    y = torch.randn(3, 6, dtype=torch.double).t().requires_grad_()
    x = torch.randn(3, 4, dtype=torch.double).t().requires_grad_()
    found = torch.autograd.grad(sddmm(edge_index, x, y).sum(), (x, y))
    ones = dense.ne(0).double()
    torch.testing.assert_close(found, (ones @ y, ones.t() @ x))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("transpose", [False, True])
def test_to_csr(order, transpose):
    edge_index, weight, dense = draw((4, 6), order)
    matrix = to_csr(edge_index, weight, transpose)
    assert matrix.layout == torch.sparse_csr
    torch.testing.assert_close(
        matrix.to_dense(), dense.t() if transpose else dense
    )


def test_indices_are_those_that_the_cpu_multiplies_with():
    """Otherwise each product would convert them, and weights are no copy."""
    edge_index, weight, _ = draw((4, 6), "row")
    edge_index.fill_cache_()
    matrix = to_csr(edge_index, weight)
    (ptr, index), _ = edge_index.get_csr()
    assert matrix.values().data_ptr() == weight.data_ptr()
    for found, expected in (
        (matrix.crow_indices(), ptr),
        (matrix.col_indices(), index),
    ):
        assert found.dtype == torch.int32
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("order", ORDERS)
def test_no_edges(order):
    edge_index, weight, _ = draw((4, 6), order, share=0.0)
    assert edge_index.size(1) == 0
    x = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    weight.requires_grad_()
    out = spmm(edge_index, x, weight)
    assert out.tolist() == [[0.0] * 3] * 4
    out.sum().backward()
    assert x.grad.count_nonzero() == 0
    assert weight.grad.numel() == 0
    y = torch.randn(4, 3, dtype=torch.double)
    assert sddmm(edge_index, y, x).numel() == 0


def test_repeated_edges_add_up():
    place = torch.tensor([[0, 0, 1], [1, 1, 0]])
    edge_index = EdgeIndex(place, sparse_size=(2, 2), sort_order="row")
    weight = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    x = torch.tensor([[1.0], [10.0]])
    out = spmm(edge_index, x, weight)
    assert out.tolist() == [[30.0], [4.0]]
    out.sum().backward()
    assert weight.grad.tolist() == [10.0, 10.0, 1.0]


@pytest.mark.parametrize("weighted", [False, True])
def test_autocast_sums_in_full_precision(weighted):
    edge_index, weight, dense = draw((4, 6), "row", dtype=torch.float)
    weight = weight.requires_grad_() if weighted else None
    dense = dense if weighted else dense.ne(0).float()
    x = torch.randn(6, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = spmm(edge_index, x, weight)
        dots = sddmm(edge_index, out, x)
    assert out.dtype == dots.dtype == torch.float
    torch.testing.assert_close(out, dense @ x)
    row, col = edge_index.as_tensor()
    torch.testing.assert_close(dots, (dense @ x @ x.t())[row, col])
    (out.sum() + dots.sum()).backward()
    assert x.grad.dtype == torch.float


@pytest.mark.parametrize("weighted", [False, True])
def test_half_precision_inputs_under_autocast(weighted):
    """What a layer before may hand on."""
    edge_index, weight, dense = draw((4, 6), "col", dtype=torch.float)
    dense = dense if weighted else dense.ne(0).float()
    x = torch.randn(6, 3).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = spmm(edge_index, x, weight if weighted else None)
    torch.testing.assert_close(
        out.float(), dense @ x.float(), rtol=0.02, atol=0.02
    )
    out.sum().backward()
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("order", ORDERS)
def test_graphs_are_copied_and_pickled(order):
    edge_index, weight, dense = draw((4, 6), order)
    edge_index.fill_cache_()
    x = torch.randn(6, 3, dtype=torch.double)
    for other in (
        copy.deepcopy(edge_index),
        pickle.loads(pickle.dumps(edge_index)),
    ):
        torch.testing.assert_close(spmm(other, x, weight), dense @ x)

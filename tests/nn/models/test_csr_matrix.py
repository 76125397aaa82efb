import copy
import pickle

import pytest
import torch

from tmfun_pyg.nn.models.csr_matrix import CSRMatrix


@pytest.fixture(params=[(5, 5), (4, 6)])
def dense(request):
    return torch.randn(request.param).relu()


def from_dense(dense):
    row, col = dense.nonzero().t()
    perm = torch.randperm(row.numel())
    row, col = row[perm], col[perm]
    return CSRMatrix.from_coo(row, col, dense[row, col], tuple(dense.shape))


def test_product_and_gradient(dense):
    matrix = from_dense(dense)
    torch.testing.assert_close(matrix.adj_t.to_dense(), dense)
    torch.testing.assert_close(matrix.adj.to_dense(), dense.t())
    x = torch.randn(dense.size(1), 3, requires_grad=True)
    probe = torch.randn(dense.size(0), 3)
    (matrix(x) * probe).sum().backward()
    torch.testing.assert_close(matrix(x), dense @ x)
    torch.testing.assert_close(x.grad, dense.t() @ probe)


def test_rows(dense):
    index = torch.tensor([3, 0, 3, 2])
    row_scale, col_scale = torch.rand(4, 2), torch.rand(dense.size(1), 2)
    matrices = from_dense(dense).rows(index, row_scale, col_scale)
    assert len(matrices) == 2
    for i, matrix in enumerate(matrices):
        expected = row_scale[:, i, None] * dense[index] * col_scale[:, i]
        torch.testing.assert_close(matrix.adj_t.to_dense(), expected)
        torch.testing.assert_close(matrix.adj.to_dense(), expected.t())
        x = torch.randn(dense.size(1), 3)
        torch.testing.assert_close(matrix(x), expected @ x)


def test_few_entries():
    matrix = from_dense(torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 0.0]]))
    assert matrix.has_few_entries(torch.tensor([1]))
    assert not matrix.has_few_entries(torch.tensor([1, 1]))
    assert not matrix.has_few_entries(torch.tensor([0]))


def test_is_copied_and_pickled_but_no_state(dense):
    matrix = from_dense(dense)
    assert matrix.state_dict() == {}
    x = torch.randn(dense.size(1), 3)
    for other in (
        copy.deepcopy(matrix),
        pickle.loads(pickle.dumps(matrix)),
    ):
        torch.testing.assert_close(other(x), dense @ x)
    assert matrix.double()(x.double()).dtype == torch.double


def test_repr():
    assert str(from_dense(torch.eye(3))) == "CSRMatrix(3, 3, nnz=3)"

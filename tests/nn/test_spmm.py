import torch

from tmfun_pyg.nn.spmm import spmm


def test_product_and_gradient():
    dense = torch.randn(4, 6).relu()
    adj_t, adj = dense.to_sparse_csr(), dense.t().to_sparse_csr()
    x = torch.randn(6, 3, requires_grad=True)
    probe = torch.randn(4, 3)
    out = spmm(adj_t, adj, x)
    torch.testing.assert_close(out, dense @ x)
    (out * probe).sum().backward()
    torch.testing.assert_close(x.grad, dense.t() @ probe)

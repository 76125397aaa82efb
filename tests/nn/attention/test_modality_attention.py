import pytest
import torch

from tmfun_pyg.nn import ModalityAttention


def reference(att, x, query, mask):
    """The formula, node by node."""
    out = torch.zeros(x.size(0), x.size(2))
    weights = torch.zeros(x.shape[:2])
    for n in range(x.size(0)):
        present = mask[n].nonzero().view(-1).tolist()
        scores = []
        for m in present:
            key = att.lin_key.weight @ x[n, m] + att.lin_key.bias
            if query is not None:
                key = key + att.lin_query.weight @ query[n]
            scores.append(att.att[0] @ key.tanh())
        if not scores:
            continue
        alpha = torch.stack(scores).softmax(dim=0)
        for m, a in zip(present, alpha, strict=True):
            out[n] += a * x[n, m]
            weights[n, m] = a
    return out, weights


@pytest.mark.parametrize("query_channels", [None, 5])
def test_formula(query_channels):
    att = ModalityAttention(8, query_channels)
    assert str(att) == f"ModalityAttention(8, query_channels={query_channels})"
    torch.nn.init.normal_(att.lin_key.bias)
    x = torch.randn(6, 3, 8)
    query = None if query_channels is None else torch.randn(6, query_channels)
    mask = torch.rand(6, 3) < 0.6
    mask[0], mask[1] = False, True
    expected, expected_weight = reference(att, x, query, mask)
    out, weight = att(x, query, mask, return_attention_weights=True)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(weight, expected_weight)
    torch.testing.assert_close(att(x, query, mask), expected)

    total = mask.any(dim=1).float()
    torch.testing.assert_close(weight.sum(dim=1), total)
    assert bool((weight[~mask] == 0).all())


def test_hand_worked_example():
    att = ModalityAttention(1)
    with torch.no_grad():
        att.lin_key.weight.fill_(1.0)
        att.att.fill_(1.0)
    x = torch.tensor([[[0.0], [torch.inf], [-torch.inf]]])
    mask = torch.tensor([[True, False, False]])
    out, weight = att(x, mask=mask, return_attention_weights=True)
    assert out.tolist() == [[0.0]]
    assert weight.tolist() == [[1.0, 0.0, 0.0]]

    # tanh(atanh(0.5)) - tanh(0) = 0.5 apart, hence odds of exp(0.5):
    x = torch.tensor([[[0.5]], [[0.0]]]).atanh().view(1, 2, 1)
    _, weight = att(x, return_attention_weights=True)
    odds = weight[0, 0] / weight[0, 1]
    torch.testing.assert_close(odds, torch.tensor(0.5).exp())


def test_without_mask_equals_full_mask():
    att = ModalityAttention(8, 8)
    x, query = torch.randn(5, 3, 8), torch.randn(5, 8)
    everywhere = torch.ones(5, 3, dtype=torch.bool)
    torch.testing.assert_close(att(x, query), att(x, query, everywhere))


def test_one_modality_is_passed_through():
    att = ModalityAttention(8)
    x = torch.randn(5, 1, 8)
    torch.testing.assert_close(att(x), x[:, 0])


def test_modality_order_does_not_matter():
    att = ModalityAttention(8, 8)
    x, query = torch.randn(5, 4, 8), torch.randn(5, 8)
    perm = torch.tensor([2, 0, 3, 1])
    out, weight = att(x, query, return_attention_weights=True)
    out2, weight2 = att(x[:, perm], query, return_attention_weights=True)
    torch.testing.assert_close(out2, out)
    torch.testing.assert_close(weight2, weight[:, perm])


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
def test_missing_modalities_are_never_read(garbage):
    att = ModalityAttention(8, 8)
    x, query = torch.randn(3, 2, 8), torch.randn(3, 8)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    expected = att(x, query, mask)
    x = x.masked_fill(~mask.unsqueeze(-1), garbage).requires_grad_()
    out = att(x, query, mask)
    torch.testing.assert_close(out, expected)
    assert out[2].abs().max() == 0
    out.pow(2).sum().backward()
    assert bool(x.grad.isfinite().all())
    assert bool((x.grad[~mask] == 0).all())
    assert all(bool(p.grad.isfinite().all()) for p in att.parameters())


def test_gradients():
    att = ModalityAttention(4, 3).double()
    x = torch.randn(3, 2, 4, dtype=torch.double, requires_grad=True)
    query = torch.randn(3, 3, dtype=torch.double, requires_grad=True)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    assert torch.autograd.gradcheck(lambda x, q: att(x, q, mask), (x, query))


def test_reset_parameters():
    torch.manual_seed(1)
    att = ModalityAttention(8, 8)
    before = {k: v.clone() for k, v in att.state_dict().items()}
    torch.manual_seed(1)
    torch.nn.Linear(8, 8), torch.nn.Linear(8, 8, bias=False)
    att.reset_parameters()
    after = att.state_dict()
    assert bool((after["lin_key.bias"] == 0).all())
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_errors():
    att, x = ModalityAttention(8), torch.randn(5, 2, 8)
    with pytest.raises(ValueError, match=r"got \[5, 2, 4\]"):
        att(x[..., :4])
    with pytest.raises(ValueError, match="'query' must not be given without"):
        att(x, torch.randn(5, 8))
    with pytest.raises(ValueError, match=r"'query' must be .* \(got None\)"):
        ModalityAttention(8, 8)(x)
    with pytest.raises(ValueError, match=r"'query' must be of shape \[5, 8\]"):
        ModalityAttention(8, 8)(x, torch.randn(4, 8))
    with pytest.raises(ValueError, match="'mask' must be boolean"):
        att(x, mask=torch.ones(5, 2))
    with pytest.raises(ValueError, match=r"of shape \[5, 2\]"):
        att(x, mask=torch.ones(5, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"'channels' .* 1 \(got 0\)"):
        ModalityAttention(0)
    for size in (0, -1):
        with pytest.raises(ValueError, match="'query_channels' must be at le"):
            ModalityAttention(8, size)


@pytest.mark.parametrize("shape", [(0, 3, 8), (5, 0, 8), (0, 0, 8)])
@pytest.mark.parametrize("masked", [False, True])
def test_no_nodes_or_no_modalities(shape, masked):
    att = ModalityAttention(8, 4)
    x = torch.randn(shape, requires_grad=True)
    query = torch.randn(shape[0], 4, requires_grad=True)
    mask = torch.ones(shape[:2], dtype=torch.bool) if masked else None
    out, weight = att(x, query, mask, return_attention_weights=True)
    assert torch.equal(out, torch.zeros(shape[0], 8))
    assert weight.shape == shape[:2]
    out.sum().backward()
    for tensor in (x, query, *att.parameters()):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))

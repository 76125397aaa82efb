import numpy as np
import pytest
import torch

from tmfun_pyg.nn import ModalityAttention, MultiStepFusion


def test_one_attention_step_is_a_plain_attention_merge():
    fusion = MultiStepFusion(8, 1, "attention", query_channels=6)
    att = ModalityAttention(8, 6)
    att.load_state_dict(fusion.steps[0].state_dict())
    x, source, query = torch.randn(5, 8), torch.randn(5, 8), torch.randn(5, 6)
    torch.testing.assert_close(
        fusion(x, [source], query), att(torch.stack([x, source], dim=1), query)
    )


def test_gate_steps_in_order():
    fusion = MultiStepFusion(8, 2, query_channels=8, gate_bias=[0.5, -0.5])
    x, query = torch.randn(5, 8), torch.randn(5, 8)
    sources = [torch.randn(5, 8), torch.randn(5, 8)]
    expected = x
    for step, source in zip(fusion.steps, sources, strict=True):
        share = torch.sigmoid(query @ step.weight.t() + step.bias)
        expected = (1 - share) * expected + share * source
    torch.testing.assert_close(fusion(x, sources, query), expected)
    assert fusion.steps[0].bias.tolist() == [0.5] * 8
    assert fusion.steps[1].bias.tolist() == [-0.5] * 8


def test_gate_without_query_reads_the_running_representation():
    fusion = MultiStepFusion(8, 1)
    x, source = torch.randn(5, 8), torch.randn(5, 8)
    share = fusion.steps[0](x).sigmoid()
    torch.testing.assert_close(fusion(x, [source]), x + share * (source - x))


@pytest.mark.parametrize("kind", ["gate", "attention"])
def test_equal_sources_change_nothing(kind):
    fusion = MultiStepFusion(8, 3, kind)
    x = torch.randn(5, 8)
    torch.testing.assert_close(fusion(x, [x, x, x]), x)


@pytest.mark.parametrize("kind", ["gate", "attention"])
def test_result_lies_between_the_representations(kind):
    fusion = MultiStepFusion(8, 3, kind)
    x, sources = torch.randn(50, 8), list(torch.randn(3, 50, 8))
    stacked = torch.stack([x, *sources])
    out = fusion(x, sources)
    assert bool((out >= stacked.amin(dim=0) - 1e-6).all())
    assert bool((out <= stacked.amax(dim=0) + 1e-6).all())


def test_gates_can_close():
    fusion = MultiStepFusion(8, 2, gate_bias=-100.0)
    x = torch.randn(5, 8)
    torch.testing.assert_close(
        fusion(x, [torch.randn(5, 8), torch.randn(5, 8)]), x
    )


@pytest.mark.parametrize("kind", ["gate", "attention"])
def test_masked_sources_are_not_read(kind):
    fusion = MultiStepFusion(8, 2, kind)
    x, sources = torch.randn(5, 8), [torch.randn(5, 8), torch.randn(5, 8)]
    mask = torch.tensor([True, False, True, False, True])
    full = fusion(x, sources)
    without = MultiStepFusion(8, 1, kind)
    without.steps[0].load_state_dict(fusion.steps[1].state_dict())
    skipped = without(x, sources[1:])
    garbage = sources[0].masked_fill(~mask.view(-1, 1), torch.nan)
    garbage.requires_grad_()
    out = fusion(x, [garbage, sources[1]], masks=[mask, None])
    torch.testing.assert_close(out[mask], full[mask])
    torch.testing.assert_close(out[~mask], skipped[~mask])
    out.sum().backward()
    assert bool(garbage.grad.isfinite().all())
    for parameter in fusion.parameters():
        assert bool(parameter.grad.isfinite().all())


@pytest.mark.parametrize("kind", ["gate", "attention"])
def test_gradients(kind):
    fusion = MultiStepFusion(4, 2, kind, 3).double()
    assert str(fusion) == f"MultiStepFusion(4, num_steps=2, kind={kind!r})"
    x, s, t = torch.randn(3, 3, 4, dtype=torch.double, requires_grad=True)
    q = torch.randn(3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s, t, q: fusion(x, [s, t], q), (x, s, t, q)
    )


def test_no_steps():
    x = torch.randn(5, 8)
    assert torch.equal(MultiStepFusion(8, 0)(x, []), x)


def test_errors():
    with pytest.raises(ValueError, match="'num_steps' must be at least 0"):
        MultiStepFusion(8, -1)
    with pytest.raises(ValueError, match="'kind' must be"):
        MultiStepFusion(8, 2, "sum")
    with pytest.raises(ValueError, match="'gate_bias' must have one entry"):
        MultiStepFusion(8, 2, gate_bias=[0.0])
    assert MultiStepFusion(8, 2, gate_bias=np.float32(1)).gate_biases == [1, 1]
    for biases in (np.array([0.0, 1.0]), torch.tensor([0.0, 1.0])):
        assert MultiStepFusion(8, 2, gate_bias=biases).gate_biases == [0, 1]
    x = torch.randn(5, 8)
    with pytest.raises(ValueError, match=r"'sources' must .* 2 steps"):
        MultiStepFusion(8, 2)(x, [x])
    for source in (x[:1], x[:, :1]):
        with pytest.raises(ValueError, match=r"'sources' .* 'x', \[5, 8\] \("):
            MultiStepFusion(8, 1)(x, [source])
    with pytest.raises(ValueError, match="'masks' must have one entry"):
        MultiStepFusion(8, 1)(x, [x], masks=[])
    with pytest.raises(ValueError, match="'query' must not be given"):
        MultiStepFusion(8, 1)(x, [x], query=x)
    for query in (None, x[:1], x[:, :1]):
        for kind in ("gate", "attention"):
            fusion = MultiStepFusion(8, 1, kind, query_channels=8)
            with pytest.raises(ValueError, match=r"'query' .* shape \[5, 8\] "):
                fusion(x, [x], query)
    for wrong in (x[:, :1], x[0]):
        with pytest.raises(ValueError, match=r"'x' must .* \[num_nodes, 8\] "):
            MultiStepFusion(8, 1)(wrong, [wrong])
    for mask in (torch.ones(5), x[:1, 0] > 0, x[:, :1] > 0):
        with pytest.raises(ValueError, match=r"'masks' must be .* \[5\] "):
            MultiStepFusion(8, 1)(x, [x], masks=[mask])
    for kind in ("gate", "attention"):
        with pytest.raises(ValueError, match=r"'channels' .* 1 \(got 0\)"):
            MultiStepFusion(0, 1, kind)
        with pytest.raises(ValueError, match=r"'query_channels' .* \(got 0\)"):
            MultiStepFusion(8, 1, kind, query_channels=0)


@pytest.mark.parametrize("kind", ["gate", "attention"])
@pytest.mark.parametrize("masked", [False, True])
def test_no_nodes(kind, masked):
    fusion = MultiStepFusion(8, 2, kind, 3)
    x, *sources = (torch.empty(0, 8, requires_grad=True) for _ in range(3))
    mask = torch.empty(0, dtype=torch.bool) if masked else None
    query = torch.empty(0, 3, requires_grad=True)
    args = x, sources, query, [mask, mask]
    out, shares = fusion(*args, return_shares=True)
    assert out.shape == shares[0].shape == shares[1].shape == (0, 8)
    out.sum().backward()
    for tensor in (x, *sources, query, *fusion.parameters()):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


@pytest.mark.parametrize("kind", ["gate", "attention"])
@pytest.mark.parametrize("query_channels", [None, 3])
def test_shares(kind, query_channels):
    fusion = MultiStepFusion(4, 2, kind, query_channels)
    x, *sources = torch.randn(3, 5, 4).unbind()
    query = None if query_channels is None else torch.randn(5, 3)
    masks = [None, torch.tensor([True, False, True, False, True])]
    out, shares = fusion(x, sources, query, masks, return_shares=True)
    torch.testing.assert_close(out, fusion(x, sources, query, masks))
    for source, share in zip(sources, shares, strict=True):
        x = x + share * (source - x)
    torch.testing.assert_close(out, x)
    assert not bool(shares[1][~masks[1]].any())
    assert bool((shares[0] > 0).all())

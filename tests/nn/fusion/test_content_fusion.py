import pytest
import torch

from tmfun_pyg.nn import ContentFusion, ModalityAttention, MultiStepFusion


def draw(fusion, num_sources, num_nodes=20):
    """Sources, queries and masks, of which those of node 0 are all False."""
    sources = list(torch.randn(num_sources, num_nodes, 4).unbind())
    query = torch.randn(num_nodes, 4)
    mask = torch.rand(num_nodes, num_sources + 1) < 0.5
    mask[0] = False
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    return sources, query, mask


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("later_steps", [False, True])
@pytest.mark.parametrize("item_graph", [False, True])
@pytest.mark.parametrize("step_kind", ["gate", "attention"])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_of_sources(
    attention, later_steps, item_graph, step_kind, masked
):
    """Weights times sources sum up to the output."""
    fusion = ContentFusion(
        4, 2, 0.7, step_kind, item_graph, attention, later_steps
    )
    num_sources = 3 if item_graph and later_steps else 2
    sources, query, mask = draw(fusion, num_sources)
    if not masked:
        mask = None
    out, weight = fusion(sources, query, mask)
    found = fusion.source_weights(sources, query, mask)
    assert found.shape == (20, num_sources, 4)
    assert not found.requires_grad
    torch.testing.assert_close((found * torch.stack(sources, 1)).sum(1), out)
    assert bool((found >= 0).all())
    total = found.sum(dim=1)
    if not masked:
        torch.testing.assert_close(weight.sum(dim=1), torch.ones(20))
        torch.testing.assert_close(total, torch.full_like(total, 0.7))
    else:
        assert not found[0].any()
        assert not out[0].any()
        assert not found[~mask[:, :num_sources]].any()
        has = mask[:, :2].any(dim=1)
        torch.testing.assert_close(weight.sum(dim=1), has.float())
        assert bool((total[has] - 0.7).abs().max() < 1e-6)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_dense_reference(attention, masked):
    """The early step, then a gate for each source, modalities first."""
    fusion = ContentFusion(4, 2, 0.7, attention=attention)
    sources, query, mask = draw(fusion, 3)
    if not masked:
        mask[:] = True
    rows = []
    for n in range(20):
        own = [m for m in range(2) if mask[n, m]]
        weight = torch.zeros(2)
        if own and attention:
            layer = fusion.attention
            q = layer.lin_query.weight @ query[n]
            score = [
                (layer.lin_key(sources[m][n]) + q).tanh() @ layer.att[0]
                for m in own
            ]
            weight[own] = torch.stack(score).softmax(dim=0)
        elif own:
            weight[own] = 1 / len(own)
        x = sum(weight[m] * sources[m][n] for m in range(2))
        for t, step in enumerate(fusion.later_steps.steps):
            if mask[n, t]:
                share = step(query[n]).sigmoid()
                x = (1 - share) * x + share * sources[t][n]
        rows.append(0.7 * x)
    found, _ = fusion(sources, query, mask if masked else None)
    torch.testing.assert_close(found, torch.stack(rows))


def test_made_of_the_layers_of_the_package():
    fusion = ContentFusion(4, 2, step_kind="attention")
    attention = ModalityAttention(4, 4)
    attention.load_state_dict(fusion.attention.state_dict())
    steps = MultiStepFusion(4, 3, "attention", 4)
    steps.load_state_dict(fusion.later_steps.state_dict())
    sources, query, mask = draw(ContentFusion(4, 2), 3)
    early, weight = attention(
        torch.stack(sources[:2], dim=1),
        query,
        mask[:, :2],
        return_attention_weights=True,
    )
    expected = steps(early, sources, query, list(mask[:, :3].unbind(dim=1)))
    found = fusion(sources, query, mask)
    torch.testing.assert_close(found, (expected, weight))


def test_gate_of_the_item_graph_begins_nearly_closed():
    fusion = ContentFusion(4, 2)
    biases = [step.bias.unique().tolist() for step in fusion.later_steps.steps]
    assert biases == [[0.0], [0.0], [-2.0]]


def test_reset_parameters():
    fusion = ContentFusion(4, 2)
    before = {k: v.clone() for k, v in fusion.state_dict().items()}
    draw(fusion, 3)
    fusion.reset_parameters()
    for name, value in fusion.state_dict().items():
        if name.endswith("bias"):
            assert torch.equal(value, before[name])
        else:
            assert not torch.equal(value, before[name])
            assert value.abs().max() < 2


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("attention", [False, True])
def test_missing_sources_are_never_read(garbage, attention):
    fusion = ContentFusion(4, 2, attention=attention)
    sources, query, mask = draw(fusion, 3)
    expected = fusion(sources, query, mask)
    poisoned = [
        x.masked_fill(~mask[:, s].view(-1, 1), garbage).requires_grad_()
        for s, x in enumerate(sources)
    ]
    found = fusion(poisoned, query, mask)
    torch.testing.assert_close(found, expected)
    found[0].sum().backward()
    for x in (*poisoned, *fusion.parameters()):
        assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("step_kind", ["gate", "attention"])
def test_gradients(step_kind):
    fusion = ContentFusion(4, 2, 0.7, step_kind).double()
    sources, query, mask = draw(fusion, 3, num_nodes=4)
    inputs = [x.double().requires_grad_() for x in (*sources, query)]
    assert torch.autograd.gradcheck(
        lambda *args: fusion(args[:3], args[3], mask)[0], inputs
    )


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("step_kind", ["gate", "attention"])
@pytest.mark.parametrize("masked", [False, True])
def test_no_nodes(attention, step_kind, masked):
    fusion = ContentFusion(4, 2, step_kind=step_kind, attention=attention)
    sources = [torch.empty(0, 4, requires_grad=True) for _ in range(3)]
    query = torch.empty(0, 4, requires_grad=True)
    mask = torch.empty(0, 3, dtype=torch.bool) if masked else None
    out, weight = fusion(sources, query, mask)
    assert (out.shape, weight.shape) == ((0, 4), (0, 2))
    assert fusion.source_weights(sources, query, mask).shape == (0, 3, 4)
    out.sum().backward()
    for tensor in (*sources, query, *fusion.parameters()):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


def test_errors():
    with pytest.raises(ValueError, match=r"'num_modalities' .* \(got 0\)"):
        ContentFusion(4, 0)
    for options in ({}, {"attention": False}, {"later_steps": False}):
        with pytest.raises(ValueError, match=r"'channels' .* 1 \(got 0\)"):
            ContentFusion(0, 2, **options)

import importlib

import pytest
import torch
import torch.nn.functional as F

from tmfun_pyg.nn import info_nce

MODULE = importlib.import_module("tmfun_pyg.nn.loss.info_nce")


@pytest.fixture(params=[1, 3, 7, 1000], autouse=True)
def rows_a_chunk(request, monkeypatch):
    """What is compared at a time must not matter."""
    monkeypatch.setattr(MODULE, "CHUNK_SIMILARITIES", 23 * request.param)


def reference(x, y, temperature):
    """The formula, row by row."""
    losses = []
    for n in range(len(x)):
        cos = torch.stack(
            [x[n] @ y[k] / (x[n].norm() * y[k].norm()) for k in range(len(y))]
        )
        weight = (cos / temperature).exp()
        losses.append(-(weight[n] / weight.sum()).log())
    return torch.stack(losses).mean()


@pytest.fixture
def views():
    return torch.randn(2, 23, 5, dtype=torch.double).unbind()


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_formula_in_float64(views, temperature):
    x, y = views
    loss = info_nce(x, y, temperature)
    expected = reference(x, y, temperature)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_repeated_nodes_count_once(views):
    x, y = views
    index = torch.randint(0, 23, (40,))
    node = index.unique()
    loss = info_nce(x[index], y[index], 0.2, index)
    torch.testing.assert_close(loss, reference(x[node], y[node], 0.2))


@pytest.mark.parametrize("garbage", [1.0, torch.nan])
def test_mask_equals_leaving_rows_out(views, garbage):
    mask = torch.rand(23) < 0.5
    mask[0] = True
    fill = garbage * torch.ones(23, 1).masked_fill(mask.view(-1, 1), 0.0)
    fill = torch.where(mask.view(-1, 1), 0.0, fill)
    x, y = ((view + fill).requires_grad_() for view in views)
    loss = info_nce(x, y, 0.2, mask=mask)
    torch.testing.assert_close(loss, reference(x[mask], y[mask], 0.2))
    loss.backward()
    for view in (x, y):
        assert bool(view.grad.isfinite().all())
        assert bool((view.grad[~mask] == 0).all())


def test_rows_left_out_do_not_count_for_their_node(views):
    x, y = views
    index, mask = torch.randint(0, 6, (23,)), torch.rand(23) < 0.5
    mask[0] = True
    expected = info_nce(x[mask], y[mask], 0.2, index[mask])
    torch.testing.assert_close(info_nce(x, y, 0.2, index, mask), expected)


def test_rows_of_the_same_group_are_no_negatives(views):
    x, y = (view.clone().requires_grad_() for view in views)
    user, item = torch.randint(0, 6, (2, 23))
    loss = info_nce(x, y, 0.2, same=(user, item))

    logits = F.normalize(x, dim=1) @ F.normalize(y, dim=1).t() / 0.2
    negative = (user.view(-1, 1) != user) & (item.view(-1, 1) != item)
    assert 0 < int(negative.sum()) < 23 * 22
    allowed = negative | torch.eye(23, dtype=torch.bool)
    total = (logits.exp() * allowed).sum(dim=1)
    expected = (total.log() - logits.diagonal()).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    grads = torch.autograd.grad(loss, (x, y))
    references = torch.autograd.grad(expected, (x, y))
    torch.testing.assert_close(grads, references)


def test_nothing_to_contrast_is_zero(views):
    x, y = (view.clone().requires_grad_() for view in views)
    loss = info_nce(x, y, mask=torch.zeros(23, dtype=torch.bool))
    assert loss.item() == 0
    loss.backward()
    assert x.grad.abs().max() == 0


def test_gradients(views):
    x, y = (view.clone().requires_grad_() for view in views)
    index = torch.arange(23) // 2
    assert torch.autograd.gradcheck(
        lambda x, y: info_nce(x, y, 0.2, index), (x, y)
    )


def test_hand_worked_example():
    # Two orthogonal pairs: e / (e + 1) each, at temperature 1.
    x = torch.eye(2, dtype=torch.double)
    expected = torch.tensor(1.0, dtype=torch.double).exp()
    expected = -(expected / (expected + 1)).log()
    torch.testing.assert_close(info_nce(x, x, 1.0), expected)
    # All alike: nobody can be told apart, log(N).
    same = torch.ones(8, 3)
    assert info_nce(same, same).item() == pytest.approx(
        torch.tensor(8.0).log().item()
    )
    # One row has no negatives.
    assert info_nce(same[:1], same[:1]).item() == 0


def test_value_does_not_depend_on_lengths_or_order(views):
    x, y = views
    loss = info_nce(x, y)
    torch.testing.assert_close(info_nce(x * 1e-6, y * 1e6), loss)
    perm = torch.randperm(23)
    torch.testing.assert_close(info_nce(x[perm], y[perm]), loss)


def test_safe_numbers():
    x = torch.randn(50, 4)
    x[0] = 0  # No direction at all.
    x.requires_grad_()
    loss = info_nce(x, -x, temperature=1e-3)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.half])
def test_half_precision_is_computed_in_float(views, dtype):
    x, y = (view.to(dtype) for view in views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(x, y)
    assert loss.dtype == torch.float
    torch.testing.assert_close(loss, info_nce(x.float(), y.float()))


def test_memory_is_bounded_by_the_chunk(monkeypatch):
    """No tensor of all pairs is saved for the backward pass."""
    monkeypatch.setattr(MODULE, "CHUNK_SIMILARITIES", 64 * 512)
    x = torch.randn(512, 4, requires_grad=True)
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = info_nce(x, F.normalize(x))
    loss.backward()
    assert largest <= 64 * 512


@pytest.mark.parametrize("max_rows", [1, 5, 23, 40, None])
def test_only_the_first_rows_take_part(views, max_rows):
    x, y = views
    index, group = torch.randint(0, 9, (2, 23))
    mask = index > 2
    mask[index == index[0]] = True
    part = slice(max_rows)
    expected = info_nce(
        *(x[part], y[part], 0.2, index[part], mask[part], [group[part]]),
        max_rows=None,
    )
    found = info_nce(x, y, 0.2, index, mask, [group], max_rows)
    torch.testing.assert_close(found, expected)


def test_second_derivatives_are_refused(views):
    x = views[0].clone().requires_grad_()
    for scale in (1.0, torch.ones((), requires_grad=True)):
        loss = scale * info_nce(x, views[1])
        with pytest.raises(
            RuntimeError, match="cannot be differentiated twice"
        ):
            torch.autograd.grad(loss, x, create_graph=True)


def test_errors(views):
    x, y = views
    with pytest.raises(ValueError, match="of one shape"):
        info_nce(x, y[:5])
    with pytest.raises(ValueError, match="N > 0"):
        info_nce(x[:0], y[:0])
    with pytest.raises(ValueError, match=r"'index' must be of shape \[23\]"):
        info_nce(x, y, index=torch.zeros(5))
    with pytest.raises(ValueError, match=r"'mask' must be of shape \[23\]"):
        info_nce(x, y, mask=torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="'temperature' must be positive"):
        info_nce(x, y, temperature=0)
    for max_rows in (0, -1):
        with pytest.raises(ValueError, match="'max_rows' must be at least 1"):
            info_nce(x, y, max_rows=max_rows)

import importlib

import pytest
import torch

from tmfun_pyg.nn import ScaledContrast, info_nce

RATIO = importlib.import_module("tmfun_pyg.nn.loss.scaled_contrast").MAX_RATIO


@pytest.fixture
def views():
    torch.manual_seed(0)
    x, y = torch.randn(2, 9, 4, dtype=torch.double)
    return x.requires_grad_(), y.requires_grad_()


def mean_product_of_lengths(x, y):
    lengths = [
        x[n].pow(2).sum().sqrt() * y[n].pow(2).sum().sqrt()
        for n in range(len(x))
    ]
    return (sum(lengths) / len(lengths)).item()


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_weight_is_bounded_by_the_scale(views, share):
    x, y = views
    bound = RATIO * mean_product_of_lengths(x, y)
    loss = ScaledContrast(share * bound, temperature=0.3)
    found = loss(x, y)
    expected = min(share, 1.0) * bound * info_nce(x, y, 0.3)
    torch.testing.assert_close(found, expected)
    # The scale is a constant:
    torch.testing.assert_close(
        torch.autograd.grad(found, views), torch.autograd.grad(expected, views)
    )


def test_gradient_keeps_its_size_at_small_scales(views):
    """InfoNCE's own would grow as one over the scale."""
    loss = ScaledContrast(1e9, temperature=0.2)
    norms = []
    for scale in (1e-2, 1e-4):
        x, y = (scale * view for view in views)
        grads = torch.autograd.grad(loss(x, y), (x, y))
        norms.append(torch.cat(grads).norm().item() / scale)
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_arguments_reach_the_contrast(views):
    x, y = (view.detach() for view in views)
    index = torch.tensor([0, 1, 0, 2, 3, 4, 4, 5, 6])
    mask = index != 2
    same = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 3]), torch.arange(9) % 4
    expected = 0.01 * info_nce(x, y, 0.2, index, mask, same)
    found = ScaledContrast(0.01, 0.2)(x, y, index, mask, same)
    torch.testing.assert_close(found, expected)


def test_the_scale_is_that_of_the_contrasted_rows():
    x, y = torch.randn(2, 1030, 4)
    loss = ScaledContrast(1e9, 0.2)
    expected = loss(x[:1024], y[:1024])
    x[1024:] *= 100
    torch.testing.assert_close(loss(x, y), expected)


def test_repr():
    text = "ScaledContrast(weight=0.1, temperature=0.2)"
    assert str(ScaledContrast(0.1, 0.2)) == text

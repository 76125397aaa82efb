import pytest
import torch

from tmfun_pyg.nn import SampledSoftmaxLoss


@pytest.mark.parametrize("num_negatives", [1, 4, 99])
def test_row_by_row(num_negatives):
    user, pos = torch.randn(5, 3), torch.randn(5, 3, requires_grad=True)
    neg = torch.randn(4, 2, 3, requires_grad=True)
    loss = SampledSoftmaxLoss(num_negatives)(user, pos, neg)
    shared = [x for row in neg for x in row][:num_negatives]
    total = 0.0
    for n in range(5):
        score = (user[n] @ pos[n]).exp()
        others = sum((user[n] @ x).exp() for x in shared)
        total = total - (score / (score + others)).log() / 5
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(
        *(torch.autograd.grad(x, [pos, neg]) for x in (loss, total))
    )


def test_rows_that_count_fewer_negatives():
    user, pos = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True)
    neg = torch.randn(5, 1, 3, requires_grad=True)
    bias = torch.randn(4, 6, requires_grad=True)
    count = torch.tensor([1.0, 3.0, 5.0, 400.0])
    loss = SampledSoftmaxLoss(5)(user, pos, neg, bias, count)
    total = 0.0
    for n, num_counted in enumerate((1, 3, 5, 5)):
        score = (user[n] @ pos[n] + bias[n, 0]).exp()
        others = sum(
            (user[n] @ neg[k, 0] + bias[n, 1 + k]).exp()
            for k in range(num_counted)
        )
        total = total - (score / (score + others)).log() / 4
    torch.testing.assert_close(loss, total)
    inputs = [pos, neg, bias]
    torch.testing.assert_close(
        *(torch.autograd.grad(x, inputs) for x in (loss, total))
    )


def test_large_scores():
    user = torch.full((1, 1), 1e4)
    loss = SampledSoftmaxLoss(1)(user, user, user.view(1, 1, 1))
    torch.testing.assert_close(loss, torch.tensor(2.0).log())


def test_number_of_negatives():
    assert str(SampledSoftmaxLoss(4)) == "SampledSoftmaxLoss(num_negatives=4)"
    for number in (0, -1):
        with pytest.raises(ValueError, match="'num_negatives' must be at"):
            SampledSoftmaxLoss(number)

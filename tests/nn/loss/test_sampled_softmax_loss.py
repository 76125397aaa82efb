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


def test_large_scores():
    user = torch.full((1, 1), 1e4)
    loss = SampledSoftmaxLoss(1)(user, user, user.view(1, 1, 1))
    torch.testing.assert_close(loss, torch.tensor(2.0).log())


def test_number_of_negatives():
    assert str(SampledSoftmaxLoss(4)) == "SampledSoftmaxLoss(num_negatives=4)"
    for number in (0, -1):
        with pytest.raises(ValueError, match="'num_negatives' must be at"):
            SampledSoftmaxLoss(number)

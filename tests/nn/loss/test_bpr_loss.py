import pytest
import torch
from torch_geometric.nn.models.lightgcn import BPRLoss as PyGBPRLoss

from tmfun_pyg.nn import BPRLoss, SampledSoftmaxLoss


def test_by_hand():
    user_emb = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    item_emb = torch.tensor([[1.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    pos = torch.tensor([0, 1])
    neg = torch.tensor([[1, 2], [0, 2]])
    # Scores of user 0: 1, 0, 3; of user 1: 2, 2, 0.
    difference = torch.tensor([1.0 - 0.0, 1.0 - 3.0, 2.0 - 2.0, 2.0 - 0.0])
    expected = -difference.sigmoid().log().mean()
    torch.testing.assert_close(
        BPRLoss()(user_emb, item_emb[pos], item_emb[neg]), expected
    )


def test_equals_the_loss_of_pyg():
    user_emb, pos_emb, neg_emb = torch.randn(3, 8, 4)
    positive = (user_emb * pos_emb).sum(dim=1)
    negative = (user_emb * neg_emb).sum(dim=1)
    torch.testing.assert_close(
        BPRLoss()(user_emb, pos_emb, neg_emb.unsqueeze(1)),
        PyGBPRLoss(lambda_reg=0)(positive, negative),
    )


@pytest.mark.parametrize("loss", [BPRLoss(), SampledSoftmaxLoss(4)])
def test_negatives_without_a_dimension_of_their_own(loss):
    user_emb, pos_emb, neg_emb = torch.randn(3, 8, 4)
    with pytest.raises(ValueError, match=r"'neg_emb' .* \(got \[8, 4\]\)"):
        loss(user_emb, pos_emb, neg_emb)


def test_large_differences_are_finite():
    user_emb = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = BPRLoss()(user_emb, torch.ones(2, 1), -torch.ones(2, 1, 1))
    assert loss.item() == 1e4
    loss.backward()
    assert bool(user_emb.grad.isfinite().all())

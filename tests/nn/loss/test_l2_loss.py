import torch

from tmfun_pyg.nn import L2Loss


def test_by_hand():
    pos_emb = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    neg_emb = torch.tensor([[[0.0, 1.0], [3.0, 0.0]], [[1.0, 1.0], [3.0, 0.0]]])
    loss = L2Loss(0.5)
    expected = 0.5 * ((2 + 4) / 2 + (1 + 9 + 2 + 9) / 2)
    assert loss(pos_emb, neg_emb).item() == expected
    assert str(loss) == "L2Loss(weight=0.5)"

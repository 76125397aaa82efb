import torch
from toy_data import dense_interactions

from tmfun_pyg.baselines import MostPopular


def test_ranks_by_count(data):
    model = MostPopular.from_data(data)
    user_emb, item_emb = model()
    count = dense_interactions(data).sum(dim=0)
    torch.testing.assert_close(
        user_emb @ item_emb.t(), count.expand(model.num_users, -1)
    )
    score, item = model.recommend(torch.tensor([6]), k=6)
    order = count.sort(descending=True, stable=True)
    assert torch.equal(score[0], order.values)
    assert torch.equal(item[0], order.indices)
    assert model.loss(item, item, item) == {}

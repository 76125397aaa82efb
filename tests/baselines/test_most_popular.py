import torch
from toy_data import dense_interactions

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.testing import RankingModelTests


class TestMostPopular(RankingModelTests):
    model_cls = MostPopular


def test_ranks_by_count(data, graph):
    model = MostPopular.from_data(data)
    count = dense_interactions(data).sum(dim=0)
    user = torch.tensor([6, 0])
    torch.testing.assert_close(
        model.scorer(graph).score(user), count.expand(2, -1)
    )
    assert list(model.parameters()) == []
    assert model.state_dict() == {}

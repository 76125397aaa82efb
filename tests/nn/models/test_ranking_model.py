import pytest
import torch
from toy_data import dense_interactions, make_data

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.nn import LightGCN, RankingModel
from tmfun_pyg.nn.models.ranking_model import bpr_loss, l2_loss


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommend_ranks_scores(data, exclude_seen):
    model = LightGCN.from_data(data, channels=4)
    user_emb, item_emb = model()
    scores = (user_emb @ item_emb.t()).detach()
    if exclude_seen:
        scores[dense_interactions(data) > 0] = float("-inf")
    user = torch.tensor([6, 0, 0, 3])
    value, item = model.recommend(user, 4, exclude_seen, batch_size=3)
    expected, index = scores[user].sort(dim=1, descending=True, stable=True)
    torch.testing.assert_close(value, expected[:, :4])
    index = index.masked_fill(expected == float("-inf"), -1)
    assert torch.equal(item, index[:, :4])
    assert torch.equal(
        model.recommend(k=4)[1][user], model.recommend(user, 4)[1]
    )


def test_recommend_leaves_the_mode_alone(data):
    model = LightGCN.from_data(data)
    for mode in (True, False):
        model.train(mode)
        assert not model.recommend()[0].requires_grad
        assert model.training == mode


def test_more_places_than_items(data):
    value, item = MostPopular.from_data(data).recommend(k=9)
    assert value.shape == item.shape == (7, 9)
    seen = dense_interactions(data).sum(dim=1)
    assert torch.equal((item == -1).sum(dim=1), 9 - 6 + seen.long())
    assert torch.equal(item == -1, value == float("-inf"))


def test_graph_is_no_state_and_can_be_replaced(data):
    model = LightGCN.from_data(data)
    assert set(model.state_dict()) == {
        "user_embedding.weight",
        "item_embedding.weight",
    }
    other = make_data(num_modalities=1, missing=False)
    before = model()[0]
    rebound = model.bind(other)
    assert rebound is model
    fresh = LightGCN.from_data(other)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(model()[0], fresh()[0])
    assert not torch.allclose(model()[0], before)


def test_losses_by_hand():
    user_emb = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    item_emb = torch.tensor([[1.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    pos = torch.tensor([0, 1])
    neg = torch.tensor([[1, 2], [0, 2]])
    # Scores of user 0: 1, 0, 3; of user 1: 2, 2, 0.
    difference = torch.tensor([1.0 - 0.0, 1.0 - 3.0, 2.0 - 2.0, 2.0 - 0.0])
    expected = -difference.sigmoid().log().mean()
    torch.testing.assert_close(
        bpr_loss(user_emb, item_emb[pos], item_emb[neg]), expected
    )
    assert (
        l2_loss(user_emb, item_emb[neg]).item()
        == (1 + 4) / 2 + (1 + 9 + 2 + 9) / 2
    )


def test_errors(data):
    with pytest.raises(TypeError, match="abstract"):
        RankingModel(7, 6)
    with pytest.raises(ValueError, match="'num_items' must be positive"):
        LightGCN(7, 0)
    with pytest.raises(ValueError, match="'num_layers' must not be negative"):
        LightGCN(7, 6, num_layers=-1)
    with pytest.raises(ValueError, match="has 8 users, the data set 7"):
        LightGCN(8, 6).bind(data)
    model = MostPopular.from_data(data)
    with pytest.raises(ValueError, match=r"from 0 to 6 \(got 7\)"):
        model.recommend(torch.tensor([0, 7]))
    with pytest.raises(ValueError, match=r"from 0 to 6 \(got -1\)"):
        model.recommend(torch.tensor([-1]))
    with pytest.raises(ValueError, match="'k' must be at least 1"):
        model.recommend(k=0)

    store = data["user", "interacts", "item"]
    store.edge_index = torch.tensor([[0], [6]])
    with pytest.raises(ValueError, match=r"edge_index\[1\].*\(got 6\)"):
        MostPopular.from_data(data)
    store.edge_index = torch.empty(2, 0, dtype=torch.long)
    with pytest.raises(ValueError, match="no training interaction"):
        MostPopular.from_data(data)
    store.edge_index = torch.zeros(3, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"got \[3, 2\]"):
        MostPopular.from_data(data)

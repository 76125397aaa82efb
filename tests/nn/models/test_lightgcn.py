import pytest
import torch
from dense_content import dense_ranking_loss
from torch_geometric.nn.models import LightGCN as PyGLightGCN
from toy_data import dense_light_gcn

from tmfun_pyg.nn import LightGCN
from tmfun_pyg.testing import RankingModelTests


def dense_embeddings(model, data, num_layers):
    tables = model.user_embedding.weight, model.item_embedding.weight
    emb = dense_light_gcn(data, *tables, num_layers)
    return emb.split([model.num_users, model.num_items])


class TestLightGCN(RankingModelTests):
    model_cls = LightGCN
    options = {"channels": 4, "num_layers": 2, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        emb = dense_embeddings(model, data, 2)
        return dense_ranking_loss(model, *emb, *batch)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_dense_reference(data, graph, num_layers):
    model = LightGCN.from_data(data, channels=4, num_layers=num_layers)
    expected = dense_embeddings(model, data, num_layers)
    torch.testing.assert_close(model(graph), expected)


def test_equals_the_model_of_pyg(data, graph, batch):
    model = LightGCN.from_data(data, channels=4, num_layers=2, reg_weight=0.1)
    n = model.num_users
    other = PyGLightGCN(n + model.num_items, 4, num_layers=2)
    other.embedding.weight.data = torch.cat(
        [model.user_embedding.weight.data, model.item_embedding.weight.data]
    )
    user, item = data["user", "interacts", "item"].edge_index
    index = torch.stack([user, item + n])
    index = torch.cat([index, index.flip(0)], dim=1)
    torch.testing.assert_close(
        torch.cat(model(graph)), other.get_embedding(index)
    )

    user, pos_item, neg_item = batch
    neg_item = neg_item[:, :1]
    parts = model.loss(graph, user, pos_item, neg_item)
    node = torch.stack([user, pos_item + n, neg_item[:, 0] + n])
    positives = other(index, node[[0, 1]])
    negatives = other(index, node[[0, 2]])
    expected = other.recommendation_loss(
        positives, negatives, node.flatten(), lambda_reg=0.1
    )
    torch.testing.assert_close(parts["bpr"] + parts["reg"], expected)

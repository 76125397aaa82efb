import pytest
import torch
from dense_content import dense_ranking_loss
from torch_geometric.nn.models import LightGCN as PyGLightGCN
from toy_data import dense_interactions, dense_light_gcn

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import LightGCN
from tmfun_pyg.testing import RankingModelTests, assert_same_loss
from tmfun_pyg.transforms import ToRecGraph


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


@pytest.mark.parametrize("sampled", [False, True])
def test_users_of_few_items_count_few_negatives(data, sampled):
    options = {"num_layers": 1, "softmax_negatives": "auto", "reg_weight": 0.1}
    model = LightGCN.from_data(data, channels=4, **options)
    torch.nn.init.normal_(model.user_embedding.weight)
    graph = ToRecGraph()(data)
    user, pos_item = graph["user", "interacts", "item"].edge_index.as_tensor()
    neg_item = (pos_item.view(-1, 1) + torch.arange(2)) % model.num_items
    degree = dense_interactions(data).sum(dim=1)
    counted = (4 * degree[user] ** 2).clamp(max=neg_item.numel())
    assert counted.min() < counted.max() == neg_item.numel() < 128
    emb = dense_embeddings(model, data, 1)
    batch = user, pos_item, neg_item
    expected = dense_ranking_loss(model, *emb, *batch, degree=degree)
    if sampled:
        dataset = SampledInteractionDataset(graph, [-1], num_negatives=2)
        graph = dataset[torch.arange(len(dataset))]
        store = graph["user"], graph["item"]
        batch = store[0].src_index, store[1].dst_pos_index
        batch = *batch, store[1].dst_neg_index
        nodes = store[0].n_id[batch[0]], *(store[1].n_id[x] for x in batch[1:])
        expected = dense_ranking_loss(model, *emb, *nodes, degree=degree)
    assert_same_loss(model, model.loss(graph, *batch), expected)


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

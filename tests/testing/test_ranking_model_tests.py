"""A model written elsewhere passes, and what is wrong with a model fails."""

import pytest
import torch
import torch.nn.functional as F

from tmfun_pyg.nn import Embeddings, RankingModel
from tmfun_pyg.testing import RankingModelTests


class ItemSum(RankingModel):
    """Users are weighted sums of their items."""

    supports_fold_in = True

    def __init__(self, num_users: int, num_items: int, channels: int = 4):
        super().__init__(num_users, num_items)
        self.item_emb = torch.nn.Parameter(torch.randn(num_items, channels))

    def encode(self, data, user=None, item=None, exclude=None):
        self.check_data(data)
        store = data["user", "interacts", "item"]
        user_emb = store.edge_index.matmul(self.item_emb, store.edge_weight)
        return Embeddings(user_emb, self.item_emb).rows(user, item)

    def loss(self, data, user, pos_item, neg_item):
        user_emb, pos_emb = self.encode(data, user, pos_item)
        neg_emb = F.embedding(neg_item, self.item_emb)
        score = (user_emb * pos_emb).sum(dim=1, keepdim=True)
        score = score - (neg_emb @ user_emb.unsqueeze(2)).squeeze(2)
        return {"bpr": -F.logsigmoid(score).mean()}


def dense_loss(model, data, user, pos_item, neg_item):
    r = torch.zeros(model.num_users, model.num_items)
    r[tuple(data["user", "interacts", "item"].edge_index)] = 1.0
    r = r / (r.sum(1, keepdim=True) * r.sum(0)).clamp(min=1).sqrt()
    score = r @ model.item_emb @ model.item_emb.t()
    difference = score[user, pos_item, None] - score[user[:, None], neg_item]
    return {"bpr": F.softplus(-difference).mean()}


class TestItemSum(RankingModelTests):
    model_cls = ItemSum
    options = {"channels": 3}

    def dense_loss(self, model, data, *batch):
        return dense_loss(model, data, *batch)


class KeepsTheGraph(ItemSum):
    def encode(self, data, user=None, item=None, exclude=None):
        self.data = data
        return super().encode(data, user, item)


class ReadsTheFirstGraph(ItemSum):
    def encode(self, data, user=None, item=None, exclude=None):
        self.kept = getattr(self, "kept", (data,))  # Hidden in a tuple.
        return super().encode(self.kept[0], user, item)


class HasBuffers(ItemSum):
    @classmethod
    def from_data(cls, data, **kwargs):
        model = super().from_data(data, **kwargs)
        edge_index = torch.as_tensor(
            data["user", "interacts", "item"].edge_index
        )
        model.register_buffer("edge_index", edge_index, persistent=False)
        return model


class DropsOptions(ItemSum):
    @classmethod
    def from_data(cls, data, **kwargs):
        return cls(**cls.sizes_of(data), **kwargs)


class ReadsAnything(ItemSum):
    def check_data(self, data):
        pass


class IgnoresRows(ItemSum):
    def encode(self, data, user=None, item=None, exclude=None):
        return super().encode(data, user)


class HasNoUse(ItemSum):
    def __init__(self, num_users, num_items):
        super().__init__(num_users, num_items)
        self.lin = torch.nn.Linear(2, 2)


class Diverges(ItemSum):
    def loss(self, *args):
        return {"bpr": super().loss(*args)["bpr"] / 0}


class HalvesTheLoss(ItemSum):
    def loss(self, *args):
        return {"bpr": super().loss(*args)["bpr"] / 2}


class DetachesUsers(ItemSum):
    def encode(self, *args):
        user_emb, item_emb = super().encode(*args)
        return Embeddings(user_emb.detach(), item_emb)


class KnowsColdItems(ItemSum):
    supports_cold_items = True


class LearnsFromColdItems(KnowsColdItems):
    """Items are sums of what is similar, cold or not."""

    def encode(self, data, user=None, item=None, exclude=None):
        self.check_data(data)
        store = data["item", "similar_m1", "item"]
        x = self.item_emb.mean(dim=0) * data["item"].x_m1
        src, dst = store.edge_index.as_tensor()
        x = torch.zeros_like(x).index_add(
            0, dst, store.edge_weight.view(-1, 1) * x[src]
        )
        return Embeddings(x.new_ones(self.num_users, 4), x).rows(user, item)


class CountsAddedUsers(ItemSum):
    def encode(self, data, user=None, item=None, exclude=None):
        user_emb, item_emb = super().encode(data)
        index = data["user", "interacts", "item"].edge_index.as_tensor()[1]
        count = index.bincount(minlength=self.num_items).view(-1, 1)
        return Embeddings(user_emb, count * item_emb).rows(user, item)


class ReadsSamples(ItemSum):
    supports_sampling = True


class ForgetsWeights(ItemSum):
    def __init__(self, num_users, num_items):
        super().__init__(num_users, num_items)
        self.scale = (torch.rand(()),)

    def encode(self, *args):
        user_emb, item_emb = super().encode(*args)
        return Embeddings(self.scale[0] * user_emb, item_emb)


class WritesToTheGraph(ItemSum):
    def prepare(self, data, epoch=None):
        data["item"].popularity = data["item"].degree.log1p()
        return data


class WritesInPlace(ItemSum):
    def loss(self, data, *batch):
        data["item"].x_m0 += 1.0
        return super().loss(data, *batch)


class DrawsAtRandom(ItemSum):
    def encode(self, *args):
        user_emb, item_emb = super().encode(*args)
        return Embeddings(user_emb + torch.rand(()), item_emb)


MISTAKES = [
    (KeepsTheGraph, "keeps_nothing_of_what_it_reads"),
    (ReadsTheFirstGraph, "keeps_nothing_of_what_it_reads"),
    (HasBuffers, "is_built_by_sizes"),
    (DropsOptions, "is_built_by_sizes"),
    (ReadsAnything, "refuses_what_it_was_not_made_for"),
    (IgnoresRows, "encodes_rows"),
    (HasNoUse, "trains_all_parameters"),
    (Diverges, "trains_all_parameters"),
    (HalvesTheLoss, "dense_reference"),
    (DetachesUsers, "dense_reference"),
    (KnowsColdItems, "cold_items"),
    (LearnsFromColdItems, "cold_items"),
    (CountsAddedUsers, "folds_in_users"),
    (ReadsSamples, "samples_of_all_neighbors"),
    (ForgetsWeights, "save_and_load"),
    (WritesToTheGraph, "leaves_the_graph_alone"),
    (WritesInPlace, "leaves_the_graph_alone"),
    (DrawsAtRandom, "leaves_the_graph_alone"),
]


@pytest.mark.parametrize(("wrong_cls", "check"), MISTAKES)
def test_mistakes_fail(wrong_cls, check):
    tests = RankingModelTests()
    tests.model_cls, tests.dense_loss = wrong_cls, dense_loss
    tests.setup_method()
    errors = AssertionError, AttributeError, RuntimeError
    with pytest.raises((*errors, pytest.fail.Exception)):
        getattr(tests, f"test_{check}")()

import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import BPRMF
from tmfun_pyg.testing import RankingModelTests, assert_same_loss


def dense_parts(model, user, pos_item, neg_item):
    """One pair of a positive and a negative at a time, as in the paper."""
    w, h = model.user_embedding.weight, model.item_embedding.weight
    bpr, reg = [], []
    for u, i, negatives in zip(user, pos_item, neg_item, strict=True):
        reg.append(w[u].pow(2).sum() + h[i].pow(2).sum())
        for j in negatives:
            difference = w[u] @ h[i] - w[u] @ h[j]
            bpr.append(-difference.sigmoid().log())
            reg[-1] = reg[-1] + h[j].pow(2).sum()
    return {
        "bpr": torch.stack(bpr).mean(),
        "reg": 0.1 * torch.stack(reg).mean(),
    }


class TestBPRMF(RankingModelTests):
    model_cls = BPRMF
    options = {"channels": 4, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, *batch)


def test_embeddings_are_the_tables(graph):
    model = BPRMF.from_data(graph, channels=4)
    user_emb, item_emb = model(graph)
    assert torch.equal(user_emb, model.user_embedding.weight)
    assert torch.equal(item_emb, model.item_embedding.weight)


@pytest.mark.parametrize("num_hops", [1, 2])
@pytest.mark.parametrize("sparse", [False, True])
def test_samples_equal_the_whole(graph, num_hops, sparse):
    """Not even neighbors need to be drawn."""
    model = BPRMF.from_data(graph, channels=4, reg_weight=0.1, sparse=sparse)
    dataset = SampledInteractionDataset(graph, [1] * num_hops, 1, 2)
    batch = dataset[torch.tensor([3, 0, 3, 5])]
    user, item = batch["user"], batch["item"]
    index = user.src_index, item.dst_pos_index, item.dst_neg_index
    n_id = user.n_id, item.n_id, item.n_id
    index_in_whole = [n[i] for n, i in zip(n_id, index, strict=True)]
    assert_same_loss(
        model, model.loss(batch, *index), model.loss(graph, *index_in_whole)
    )


def test_shapes_and_state(graph):
    model = BPRMF.from_data(graph, channels=3)
    assert [list(x.shape) for x in model(graph)] == [
        [NUM_USERS, 3],
        [NUM_ITEMS, 3],
    ]
    assert set(model.state_dict()) == {
        "user_embedding.weight",
        "item_embedding.weight",
    }

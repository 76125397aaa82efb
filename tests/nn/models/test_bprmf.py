import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, make_data, needs_sampler

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import BPRMF


def make_model(data):
    model = BPRMF.from_data(data, channels=4, reg_weight=0.1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_dense_reference(data, batch):
    model = make_model(data)
    w, h = model.user_embedding.weight, model.item_embedding.weight
    user_emb, item_emb = model()
    torch.testing.assert_close(user_emb @ item_emb.t(), w @ h.t())

    # One pair of a positive and a negative at a time, as in the paper:
    bpr, reg = [], []
    for user, pos, negatives in zip(*batch, strict=True):
        reg.append(w[user].pow(2).sum() + h[pos].pow(2).sum())
        for neg in negatives:
            difference = w[user] @ h[pos] - w[user] @ h[neg]
            bpr.append(-difference.sigmoid().log())
            reg[-1] = reg[-1] + h[neg].pow(2).sum()
    bpr, reg = torch.stack(bpr).mean(), 0.1 * torch.stack(reg).mean()
    parts = model.loss(*batch)
    assert set(parts) == {"bpr", "reg"}
    torch.testing.assert_close(parts["bpr"], bpr)
    torch.testing.assert_close(parts["reg"], reg)

    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(parts.values()), parameters)
    expected = torch.autograd.grad(bpr + reg, parameters)
    for grad, other in zip(found, expected, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)


@needs_sampler
@pytest.mark.parametrize("num_hops", [1, 2])
def test_samples_equal_the_whole(data, num_hops):
    model = make_model(data)
    dataset = SampledInteractionDataset(data, [1] * num_hops, 1, 2)
    batch = dataset[torch.tensor([3, 0, 3, 5])]
    user, item = batch["user"], batch["item"]
    expected = model.loss(
        user.n_id[user.src_index],
        item.n_id[item.dst_pos_index],
        item.n_id[item.dst_neg_index],
    )
    parts = model.sampled_loss(batch)
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name], expected[name])


def test_shapes_and_state():
    model = BPRMF.from_data(make_data(1, False), channels=3)
    assert [list(x.shape) for x in model()] == [[NUM_USERS, 3], [NUM_ITEMS, 3]]
    assert set(model.state_dict()) == {
        "user_embedding.weight",
        "item_embedding.weight",
    }

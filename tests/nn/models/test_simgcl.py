import pytest
import torch
import torch.nn.functional as F
from toy_data import (
    NUM_ITEMS,
    NUM_USERS,
    dense_interactions,
    make_data,
    needs_sampler,
)

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import SimGCL


def make_model(data, **kwargs):
    model = SimGCL.from_data(data, channels=4, reg_weight=0.1, **kwargs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.double()


def dense_layers(model, data, eps):
    """The equations of the docstring with the dense adjacency matrix."""
    r = dense_interactions(data).double()
    adj = torch.zeros(NUM_USERS + NUM_ITEMS, NUM_USERS + NUM_ITEMS).double()
    adj[:NUM_USERS, NUM_USERS:], adj[NUM_USERS:, :NUM_USERS] = r, r.t()
    scale = adj.sum(dim=1).clamp(min=1).rsqrt()
    adj = scale.view(-1, 1) * adj * scale
    x = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    layers = []
    for _ in range(model.num_layers):
        x = adj @ x
        if eps > 0:
            # Users are drawn before items.
            noise = torch.cat(
                [
                    torch.rand(NUM_USERS, 4, dtype=torch.double),
                    torch.rand(NUM_ITEMS, 4, dtype=torch.double),
                ]
            )
            noise = noise / noise.pow(2).sum(dim=1, keepdim=True).sqrt()
            x = x + eps * noise * x.detach().sign()
        layers.append(x)
    return (sum(layers) / model.num_layers).split([NUM_USERS, NUM_ITEMS])


def dense_info_nce(x, y, temperature):
    """Term by term."""
    cosine = F.cosine_similarity(x.unsqueeze(1), y.unsqueeze(0), dim=-1)
    exp = (cosine / temperature).exp()
    return -(exp.diag() / exp.sum(dim=1)).log().mean()


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_dense_reference(data, batch, num_layers, eps):
    model = make_model(
        data, num_layers=num_layers, eps=eps, contrastive_weight=2.0
    )
    user, pos_item, neg_item = batch
    user_emb, item_emb = dense_layers(model, data, 0.0)
    torch.testing.assert_close(model(), (user_emb, item_emb))

    torch.manual_seed(1)
    views = [dense_layers(model, data, eps) for _ in range(2)]
    scores = user_emb @ item_emb.t()
    difference = (
        scores[user, pos_item].view(-1, 1) - scores[user.view(-1, 1), neg_item]
    )
    expected = {
        "bpr": -difference.sigmoid().log().mean(),
        "reg": 0.1
        * (
            model.user_embedding.weight[user].pow(2).sum()
            + model.item_embedding.weight[pos_item].pow(2).sum()
            + model.item_embedding.weight[neg_item].pow(2).sum()
        )
        / len(user),
        "contrastive": 2.0
        * sum(
            dense_info_nce(views[0][side][node], views[1][side][node], 0.2)
            for side, node in enumerate((user.unique(), pos_item.unique()))
        ),
    }
    torch.manual_seed(1)
    parts = model.loss(*batch)
    assert set(parts) == set(expected)
    for name in parts:
        torch.testing.assert_close(parts[name], expected[name])
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(parts.values()), parameters)
    wanted = torch.autograd.grad(sum(expected.values()), parameters)
    for grad, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(grad, other)


def test_noise_has_the_length_and_signs_promised(data):
    model = make_model(data, eps=0.3)
    x = torch.randn(50, 4)
    noise = model._add_noise(x) - x
    torch.testing.assert_close(noise.norm(dim=1), torch.full((50,), 0.3))
    assert bool((noise * x >= 0).all())
    assert not torch.equal(noise, model._add_noise(x) - x)


def test_no_noise_in_evaluation(data, batch):
    model = make_model(data, eps=10.0)
    expected = model()
    torch.testing.assert_close(model(), expected)
    losses = {
        mode: [model.train(mode).loss(*batch) for _ in range(2)]
        for mode in (True, False)
    }
    name = "contrastive"
    assert losses[True][0][name] != losses[True][1][name]
    torch.testing.assert_close(losses[False][0], losses[False][1])
    torch.testing.assert_close(losses[True][0]["bpr"], losses[False][0]["bpr"])


@pytest.mark.parametrize("contrast_size", [1, 3, 4, None])
def test_contrast_of_a_part_of_the_batch(data, batch, contrast_size):
    model = make_model(data, contrast_size=contrast_size).eval()
    part = tuple(index[:contrast_size] for index in batch)
    found = model.loss(*batch)["contrastive"]
    model.contrast_size = None
    torch.testing.assert_close(found, model.loss(*part)["contrastive"])


def test_without_contrast(data, batch):
    model = make_model(data, contrastive_weight=0.0)
    assert set(model.loss(*batch)) == {"bpr", "reg"}


@needs_sampler
@pytest.mark.parametrize("num_layers", [1, 3])
def test_all_neighbors_equal_the_whole_graph(data, num_layers):
    model = make_model(data, num_layers=num_layers).float().eval()
    dataset = SampledInteractionDataset(data, [-1] * num_layers, -1, 2)
    batch = dataset[torch.tensor([3, 0, 3, 5])]
    user, item = batch["user"], batch["item"]
    parts = model.sampled_loss(batch)
    expected = model.loss(
        user.n_id[user.src_index],
        item.n_id[item.dst_pos_index],
        item.n_id[item.dst_neg_index],
    )
    assert set(parts) == {"bpr", "reg", "contrastive"}
    for name in parts:
        torch.testing.assert_close(parts[name], expected[name])
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(parts.values()), parameters)
    wanted = torch.autograd.grad(sum(expected.values()), parameters)
    for grad, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)


def test_shapes_and_state():
    model = SimGCL.from_data(make_data(1, False), channels=3)
    assert [list(x.shape) for x in model()] == [[NUM_USERS, 3], [NUM_ITEMS, 3]]
    assert set(model.state_dict()) == {
        "user_embedding.weight",
        "item_embedding.weight",
    }


@pytest.mark.parametrize("name", ["num_layers", "contrast_size"])
def test_errors(data, name):
    with pytest.raises(ValueError, match=rf"'{name}' must .* \(got 0\)"):
        SimGCL.from_data(data, **{name: 0})

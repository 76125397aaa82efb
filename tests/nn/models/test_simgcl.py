import pytest
import torch
import torch.nn.functional as F
from toy_data import dense_interactions

from tmfun_pyg.nn import SimGCL
from tmfun_pyg.testing import RankingModelTests, assert_same_loss


def make_model(data, **kwargs):
    model = SimGCL.from_data(data, channels=4, reg_weight=0.1, **kwargs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def dense_layers(model, data, eps):
    """The equations of the docstring with the dense adjacency matrix."""
    r = dense_interactions(data)
    n, m = r.shape
    adj = torch.zeros(n + m, n + m)
    adj[:n, n:], adj[n:, :n] = r, r.t()
    scale = adj.sum(dim=1).clamp(min=1).rsqrt()
    adj = scale.view(-1, 1) * adj * scale
    x = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    layers = []
    for _ in range(model.num_layers):
        x = adj @ x
        if eps > 0:
            # Users are drawn before items.
            noise = torch.cat([torch.rand(n, 4), torch.rand(m, 4)])
            noise = noise / noise.pow(2).sum(dim=1, keepdim=True).sqrt()
            x = x + eps * noise * x.detach().sign()
        layers.append(x)
    return (sum(layers) / model.num_layers).split([n, m])


def dense_info_nce(x, y, temperature):
    """Term by term."""
    cosine = F.cosine_similarity(x.unsqueeze(1), y.unsqueeze(0), dim=-1)
    exp = (cosine / temperature).exp()
    return -(exp.diag() / exp.sum(dim=1)).log().mean()


def dense_parts(model, data, user, pos_item, neg_item):
    user_emb, item_emb = dense_layers(model, data, 0.0)
    eps = model.eps if model.training else 0.0
    views = [dense_layers(model, data, eps) for _ in range(2)]
    scores = user_emb @ item_emb.t()
    difference = (
        scores[user, pos_item].view(-1, 1) - scores[user.view(-1, 1), neg_item]
    )
    return {
        "bpr": F.softplus(-difference).mean(),
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


class TestSimGCL(RankingModelTests):
    model_cls = SimGCL
    options = {"channels": 4, "contrastive_weight": 2.0, "reg_weight": 0.1}

    def dense_loss(self, model, data, *batch):
        return dense_parts(model, data, *batch)


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_dense_reference(data, graph, batch, num_layers, eps):
    model = make_model(
        data, num_layers=num_layers, eps=eps, contrastive_weight=2.0
    )
    torch.testing.assert_close(model(graph), dense_layers(model, data, 0.0))
    torch.manual_seed(1)
    expected = dense_parts(model, data, *batch)
    torch.manual_seed(1)
    assert_same_loss(model, model.loss(graph, *batch), expected)


def test_noise_has_the_length_and_signs_promised(graph):
    model = make_model(graph, eps=0.3)
    x = torch.randn(50, 4)
    noise = model._add_noise(x) - x
    torch.testing.assert_close(noise.norm(dim=1), torch.full((50,), 0.3))
    assert bool((noise * x >= 0).all())
    assert not torch.equal(noise, model._add_noise(x) - x)


def test_no_noise_in_evaluation(graph, batch):
    model = make_model(graph, eps=10.0)
    torch.testing.assert_close(model(graph), model(graph))
    losses = {
        mode: [model.train(mode).loss(graph, *batch) for _ in range(2)]
        for mode in (True, False)
    }
    name = "contrastive"
    assert losses[True][0][name] != losses[True][1][name]
    torch.testing.assert_close(losses[False][0], losses[False][1])
    torch.testing.assert_close(losses[True][0]["bpr"], losses[False][0]["bpr"])


def test_without_contrast(graph, batch):
    model = make_model(graph, contrastive_weight=0.0)
    assert set(model.loss(graph, *batch)) == {"bpr", "reg"}


def test_errors(data):
    with pytest.raises(ValueError, match=r"'num_layers' must .* \(got 0\)"):
        SimGCL.from_data(data, num_layers=0)

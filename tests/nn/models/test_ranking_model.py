import copy
from inspect import isclass

import pytest
import torch
from toy_data import make_data

from tmfun_pyg import baselines, nn
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import BM3, BPRMF, LightGCN, RankingModel
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.transforms import ToRecGraph


def test_scorer_is_that_of_evaluation_mode(graph):
    model = LightGCN.from_data(graph, channels=4)
    user_emb, item_emb = model(graph)
    user = torch.tensor([6, 0, 0, 3])
    for mode in (True, False):
        scorer = model.train(mode).scorer(graph)
        assert model.training == mode
        scores = scorer.score(user)
        assert not scores.requires_grad
        torch.testing.assert_close(
            scores, (user_emb[user] @ item_emb.t()).detach()
        )
    assert (scorer.num_users, scorer.num_items) == (7, 6)


def test_mode_is_kept_where_scoring_fails(graph):
    model = LightGCN.from_data(graph, channels=4)
    model.user_embedding.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="has the training diverged"):
        model.scorer(graph)
    assert model.training


def test_mode_that_scores(data, graph):
    """Dropout and noise are of training."""

    class Noisy(BPRMF):
        def encode(self, data, user=None, item=None, exclude=None):
            emb = super().encode(data, user, item)
            assert not self.training
            return emb

    model = Noisy.from_data(data)
    assert model.training
    model.scorer(graph)


def test_options_are_kept(data):
    model = LightGCN.from_data(data, channels=4, num_layers=2)
    assert model.options == {"channels": 4, "num_layers": 2}
    assert LightGCN(7, 6).options is None


def test_features_that_are_needed():
    data = make_data(0, False)
    named = set()
    for module in (nn, baselines):
        for name in module.__all__:
            model = getattr(module, name)
            if not (isclass(model) and issubclass(model, RankingModel)):
                continue
            if model.needs_features:
                with pytest.raises(ValueError, match=f"for {name} .got none"):
                    model.from_data(data)
            else:
                named.add(name)
    with pytest.raises(ValueError, match="none are") as info:
        nn.TMFUN.from_data(data)
    listed = str(info.value).partition("none are ")[2]
    bases = {"EmbeddingModel", "RankingModel"}
    assert set(listed.replace(" and ", ", ").split(", ")) == named - bases


def test_errors(data, graph):
    with pytest.raises(NotImplementedError, match="has no embeddings"):
        RankingModel(7, 6).encode(graph)
    for sizes, name in (((0, 6), "num_users"), ((7, 0), "num_items")):
        with pytest.raises(ValueError, match=rf"'{name}' .* 1 \(got 0\)"):
            LightGCN(*sizes)
    with pytest.raises(ValueError, match=r"'num_layers' .* 0 \(got -1\)"):
        LightGCN(7, 6, num_layers=-1)
    with pytest.raises(ValueError, match=r"'channels' .* 1 \(got 0\)"):
        LightGCN(7, 6, channels=0)
    for sizes, message in (
        ((8, 6), "made for 8 users, but 'data' has 7"),
        ((7, 5), "made for 5 items, but 'data' has 6"),
    ):
        with pytest.raises(ValueError, match=message):
            LightGCN(*sizes)(graph)
    with pytest.raises(ValueError, match=r"reads graphs of ToRecGraph\(\)"):
        LightGCN(7, 6)(data)
    graph["item"].n_id = torch.arange(6)
    with pytest.raises(ValueError, match="BM3 cannot be trained on sampled"):
        BM3.from_data(data)(graph)


def test_data_of_another_data_set() -> None:
    """A model knows the data it was made for, if that is from a data set."""
    first, second = (
        SyntheticMultimodal(30, 20, {"image": 4}, seed=seed) for seed in (0, 1)
    )
    graphs = [ToRecGraph()(dataset[0]) for dataset in (first, second)]
    model = LightGCN.from_data(graphs[0], channels=4)
    assert model.fingerprint == first.fingerprint
    model(graphs[0])
    message = f"{first.fingerprint} \\(got {second.fingerprint}\\)"
    with pytest.raises(ValueError, match=message):
        model(graphs[1])
    with pytest.raises(ValueError, match=message):
        evaluate(model, graphs[1])
    with pytest.raises(ValueError, match=message):
        RecommenderModule(model, graphs[1], dataset=second)
    other = copy.copy(graphs[1])
    del other.fingerprint  # Made by hand, perhaps.
    model(other)

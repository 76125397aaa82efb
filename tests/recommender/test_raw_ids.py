from typing import Any

import pytest
import torch

from tmfun_pyg.baselines import EASE
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.nn import BPRMF
from tmfun_pyg.recommender import Recommender


@pytest.fixture(scope="module")
def dataset() -> SyntheticMultimodal:
    return SyntheticMultimodal(30, 20, {"visual": 4}, 0)


@pytest.mark.parametrize("k", [1.5, "5", None])
def test_k_must_be_a_whole_number(dataset: Any, k: Any) -> None:
    recommender = Recommender(BPRMF.from_data(dataset[0]), dataset)
    with pytest.raises(ValueError, match="'k' must be a whole number"):
        recommender.recommend(dataset.user_ids[:1], k=k)


def test_lists_are_as_long_as_there_are_items(dataset: Any) -> None:
    recommender = Recommender(BPRMF.from_data(dataset[0]), dataset)
    user, some = dataset.user_ids[:1], dataset.item_ids[:3]
    found = recommender.recommend(user, k=10**9)
    assert found.item_id.shape == (1, 20)
    found = recommender.recommend(user, k=10**9, items=some)
    assert found.item_id.shape == (1, 3)


def test_model_without_weights(dataset: Any) -> None:
    user = dataset.user_ids[:1]
    with pytest.raises(ValueError, match="was the model never fitted"):
        Recommender(EASE.from_data(dataset[0]), dataset).recommend(user)
    model = BPRMF.from_data(dataset[0])
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 1e30)
    with pytest.raises(ValueError, match="scores hold NaN or infinity"):
        Recommender(model, dataset).recommend(user)

from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

NUM_USERS, NUM_ITEMS = 30, 25


def make(
    cls: Any = TMFUN,
    names: bool = True,
    feature_channels: Optional[int] = None,
    cold: Tuple[List[str], Dict[str, np.ndarray]] = ([], {}),
    **options: Any,
) -> Recommender:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    log: dict = {"user_id": [], "item_id": []}
    for user in range(NUM_USERS):
        for item in rng.choice(NUM_ITEMS, 6, replace=False):
            log["user_id"].append(f"ü{user}" if names else user)
            log["item_id"].append(f"i{item:02}" if names else int(item))
    x = {
        "visual": rng.normal(size=(NUM_ITEMS, 8)),
        "text": rng.normal(size=(NUM_ITEMS, 5)),
    }
    features: dict = x
    if cold[0]:
        ids = [*sorted(set(log["item_id"])), *cold[0]]
        features = {m: (ids, np.concatenate([x[m], cold[1][m]])) for m in x}
    dataset = MultimodalRecDataset.from_interactions(
        pandas.DataFrame(log),
        features,
        feature_channels=feature_channels,
        pre_transform=FeatureGraph(k=3),
    )
    torch.manual_seed(0)
    model = cls.from_data(dataset[0], **options)
    model.fit(ToRecGraph()(dataset[0]))
    # Far from where it began, so that scores are no ties:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    return Recommender(model, dataset)


@pytest.fixture
def make_recommender() -> Any:
    """Makes a recommender of 30 users and 25 items, with raw ids of text
    ("ü0" and "i00") or integers.
    """
    return make


@pytest.fixture
def features() -> dict:
    """Features of three cold items."""
    rng = np.random.default_rng(1)
    return {
        "visual": rng.normal(size=(3, 8)).astype(np.float32),
        "text": rng.normal(size=(3, 5)).astype(np.float32),
    }

"""What a trained model shows of itself on a data set."""

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN, RankingModel
from tmfun_pyg.report._accuracy import (
    Binned,
    accuracy_by_activity,
    recall_by_popularity,
)
from tmfun_pyg.report._modality_weights import (
    ModalityWeights,
    modality_weights,
    why_no_weights,
)
from tmfun_pyg.report._projection import Projection, project_items


class Accuracy(NamedTuple):
    r"""How accurate a model is, and for whom.

    Args:
        activity (Dict[str, Binned]): The mean :obj:`"recall"` and
            :obj:`"ndcg"` of users by their training interactions.
        popularity (Binned): The recall of held-out interactions by the
            training interactions of the item.
    """

    activity: Dict[str, Binned]
    popularity: Binned


class Analysis(NamedTuple):
    r"""What a trained model shows of itself.

    Args:
        kind (str): The name of its class.
        num_parameters (int): The number of its weights.
        problem (str, optional): Why there is nothing else, if so.
        accuracy (Accuracy, optional): How accurate it is.
        projection (Projection, optional): Its item embeddings in the plane.
        weights (ModalityWeights, optional): How it weighs modalities.
        why_no_weights (str, optional): Why it does not, if so.
    """

    kind: str
    num_parameters: int
    problem: Optional[str] = None
    accuracy: Optional[Accuracy] = None
    projection: Optional[Projection] = None
    weights: Optional[ModalityWeights] = None
    why_no_weights: Optional[str] = None


class Facts(NamedTuple):
    r"""What all runs share: the data set, and the baseline there.

    Args:
        name (str): The name of the data set.
        sizes (Dict[str, str]): Its sizes.
        item_ids (np.ndarray): The raw ids of the items.
        popularity (np.ndarray): The training interactions of each item.
        metrics (Dict[str, float]): Those of most-popular.
        accuracy (Accuracy): That of most-popular.
    """

    name: str
    sizes: Dict[str, str]
    item_ids: np.ndarray
    popularity: np.ndarray
    metrics: Dict[str, float]
    accuracy: Accuracy


@torch.no_grad()
def analyse(model: RankingModel, dataset: Any, split: str) -> Analysis:
    r"""Analyses a trained model.

    Args:
        model (RankingModel): The model, bound to the data set.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
        split (str): The split to judge it by.
    """
    data = dataset[0]
    kind = type(model).__name__
    num_parameters = sum(weight.numel() for weight in model.parameters())
    model.eval()
    embeddings = model()
    if not all(bool(emb.isfinite().all()) for emb in embeddings):
        problem = (
            "The embeddings hold NaN or infinity: the training has diverged, "
            "and there is nothing to rank by."
        )
        return Analysis(kind, num_parameters, problem)
    why = why_no_weights(model)
    weights = None
    if why is None:
        assert isinstance(model, TMFUN)
        weights = modality_weights(model, data)
    return Analysis(
        kind,
        num_parameters,
        accuracy=_accuracy(embeddings, data, split),
        projection=project_items(embeddings[1]),
        weights=weights,
        why_no_weights=why,
    )


def describe(dataset: Any, split: str) -> Facts:
    r"""Describes a data set, and judges most-popular there.

    Args:
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
        split (str): The split to judge it by.
    """
    data = dataset[0]
    store = data["user", "interacts", "item"]
    popular = MostPopular.from_data(data)
    with torch.no_grad():
        embeddings = popular()
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    num_train = store.edge_index.size(1)
    sizes = {
        "users": f"{num_users:,}",
        "items": f"{num_items:,}",
        "training interactions": f"{num_train:,}",
        "validation interactions": f"{store.val_edge_label_index.size(1):,}",
        "test interactions": f"{store.test_edge_label_index.size(1):,}",
        "density of training": f"{num_train / num_users / num_items:.3%}",
    }
    modalities: List[str] = []
    for name in dataset.modalities:
        text = f"{name} ({data['item'][f'x_{name}'].size(1)} features"
        mask = data["item"].get(f"mask_{name}")
        if mask is not None:
            text += f", of {int(mask.sum()):,} items"
        modalities.append(text + ")")
    sizes["modalities"] = ", ".join(modalities) or "none"
    name = type(dataset).__name__
    if getattr(dataset, "name", None) is not None:
        name = f"{name} '{dataset.name}'"
    return Facts(
        name,
        sizes,
        dataset.item_ids,
        embeddings[1].view(-1).long().cpu().numpy(),
        evaluate(embeddings, data, split),
        _accuracy(embeddings, data, split),
    )


def _accuracy(embeddings: Any, data: Any, split: str) -> Accuracy:
    return Accuracy(
        accuracy_by_activity(embeddings, data, split),
        recall_by_popularity(embeddings, data, split),
    )

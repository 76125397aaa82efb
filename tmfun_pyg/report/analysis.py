"""Analysis of a trained model on a data set."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate, per_user_metrics
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.report.bins import Binned, mean_by_bin, quantile_bins
from tmfun_pyg.utils.ids import index_by_text
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer, blocked_topk
from tmfun_pyg.utils.user_items import UserItems

K = 20  # The length of the lists.


class Accuracy(NamedTuple):
    r"""How accurate a model is, and for whom.

    Args:
        metrics (Dict[str, float]): Its metrics, including beyond-accuracy
            ones.
        activity (Dict[str, Binned]): The mean :obj:`"recall"` and
            :obj:`"ndcg"` of users by their number of training interactions.
        popularity (Binned): The share of held-out interactions found in the
            top 20, by the item's number of training interactions.
    """

    metrics: Dict[str, float]
    activity: Dict[str, Binned]
    popularity: Binned


class Projection(NamedTuple):
    r"""Item embeddings projected onto their first two principal components.

    Args:
        item (np.ndarray): The items shown, ascending.
        place (np.ndarray): Their coordinates, of shape
            :obj:`[num_shown, 2]`.
        share (np.ndarray): The share of variance along each component.
    """

    item: np.ndarray
    place: np.ndarray
    share: np.ndarray


class ModalityWeights(NamedTuple):
    r"""The attention weights of modalities.

    Args:
        modalities (List[str]): The names of the modalities.
        weight (np.ndarray): The weights, of shape
            :obj:`[num_items, num_modalities]`.
        is_complete (np.ndarray): Whether each item has all modalities.
        popularity (np.ndarray): The number of training interactions of each
            item.
    """

    modalities: List[str]
    weight: np.ndarray
    is_complete: np.ndarray
    popularity: np.ndarray

    def by_popularity(self) -> Dict[str, Binned]:
        r"""Returns the medians over items with all modalities, by modality,
        with the distances to the quartiles as errors, of shape
        :obj:`[2, num_bins]`.
        """
        count = self.popularity[self.is_complete]
        bins = quantile_bins(count)
        out = {}
        for name, weight in zip(self.modalities, self.weight.T, strict=True):
            values = pd.Series(weight[self.is_complete])
            groups = values.groupby(bins.place(count))
            quartiles = groups.quantile([0.25, 0.5, 0.75]).unstack().to_numpy()
            low, median, high = quartiles.T
            error = np.stack([median - low, high - median])
            out[name] = Binned(bins, groups.size().to_numpy(), median, error)
        return out


class Analysis(NamedTuple):
    r"""The analysis of a trained model.

    Args:
        kind (str): The name of its class.
        num_parameters (int): The number of its weights.
        accuracy (Accuracy, optional): Its accuracy.
        projection (Projection, optional): Its item embeddings in 2D.
        weights (ModalityWeights, optional): Its modality weights.
        problem (str): Why it cannot be evaluated, if so.
        no_weights (str): Why there are no weights, if so.
    """

    kind: str
    num_parameters: int
    accuracy: Optional[Accuracy] = None
    projection: Optional[Projection] = None
    weights: Optional[ModalityWeights] = None
    problem: str = ""
    no_weights: str = ""


@torch.no_grad()
def analyze(rec: Recommender, split: str, data: HeteroData) -> Analysis:
    r"""Analyzes a trained model.

    Args:
        rec (Recommender): The model with its data set.
        split (str): The split to evaluate it on.
        data (HeteroData): The graph of the log, by whose features the lists
            of all models are compared.
    """
    kind = type(rec.model).__name__
    size = sum(p.numel() for p in rec.model.parameters())
    try:
        accuracy = judge(rec.scorer, data, split)
    except ValueError as err:  # Such as non-finite embeddings.
        return Analysis(kind, size, problem=str(err), no_weights=str(err))
    projection = None
    if isinstance(rec.scorer, EmbeddingScorer):
        projection = project_items(rec.scorer.item_emb)
    why = why_no_weights(rec.model, rec.data)
    weights = None if why else modality_weights(rec.model, rec.data)
    return Analysis(kind, size, accuracy, projection, weights, no_weights=why)


def judge(scorer: Scorer, data: HeteroData, split: str) -> Accuracy:
    r"""Evaluates a model over all users of a split, and by groups of them.

    Args:
        scorer (Scorer): The scorer of the model.
        data (HeteroData): The data set.
        split (str): The split.

    Raises:
        ValueError: If the scores are not finite, or if nothing is held out.
    """
    per_user = per_user_metrics(scorer, data, split, K)
    count = training_counts(data, "user")[per_user["user"].cpu().numpy()]
    activity = {
        name: mean_by_bin(count, per_user[name].cpu().numpy())
        for name in ("recall", "ndcg")
    }
    store = data["user", "interacts", "item"]
    held_out = store[f"{split}_edge_label_index"]
    seen = UserItems.from_edge_index(store.edge_index, scorer.num_users)
    item, hit = find_hits(scorer, held_out, seen, per_user["user"])
    popularity = mean_by_bin(training_counts(data, "item")[item], hit)
    metrics = evaluate(scorer, data, split, beyond_accuracy=True)
    return Accuracy(metrics, activity, popularity)


def find_hits(
    scorer: Scorer,
    held_out: Tensor,
    seen: UserItems,
    judged: Tensor,
    k: int = K,
) -> Tuple[np.ndarray, np.ndarray]:
    r"""Returns the items of held-out interactions, and whether each is in the
    top :obj:`k` of its user.

    Args:
        scorer (Scorer): The scorer of the model.
        held_out (torch.Tensor): The interactions, of shape
            :obj:`[2, num_held_out]`.
        seen (UserItems): The training items of each user.
        judged (torch.Tensor): The users whose interactions count, ascending.
        k (int, optional): The length of the lists. (default: :obj:`20`)
    """
    _, top = blocked_topk(scorer, k, user=judged, seen=seen)
    user, item = held_out[:, torch.isin(held_out[0], judged)]
    row = torch.searchsorted(judged, user.contiguous())
    hit = (top[row] == item.view(-1, 1)).any(dim=1)
    return item.cpu().numpy(), hit.double().cpu().numpy()


def training_counts(data: HeteroData, node_type: str) -> np.ndarray:
    r"""Returns the number of training interactions of each node.

    Args:
        data (HeteroData): The data set.
        node_type (str): Either :obj:`"user"` or :obj:`"item"`.
    """
    return data[node_type].degree.long().cpu().numpy()


def project_items(x: Tensor, max_points: int = 5000) -> Projection:
    r"""Projects items onto their first two principal components. If there are
    too many to show, samples some with a fixed seed.

    Args:
        x (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        max_points (int, optional): The maximum number of items shown.
            (default: :obj:`5000`)
    """
    x = x.detach().double().cpu()
    x = x - x.mean(dim=0)
    if x.size(1) == 1:
        x = torch.nn.functional.pad(x, (0, 1))
    variance, axes = torch.linalg.eigh(x.t() @ x)
    axes = axes[:, -2:].flip(1)  # The largest are last.
    # The sign of an axis is arbitrary: let its largest entry be positive.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    place = x @ (axes * torch.where(largest < 0, -1.0, 1.0))
    variance = variance.clamp(min=0)
    share = variance[-2:].flip(0) / variance.sum().clamp(min=1e-12)
    drawn = np.random.default_rng(0).permutation(x.size(0))[:max_points]
    item = np.sort(drawn)
    return Projection(item, place[item].numpy(), share.numpy())


def why_no_weights(model: Any, data: HeteroData) -> str:
    r"""Returns why there are no modality weights, or an empty string."""
    name = type(model).__name__
    if not isinstance(model, TMFUN):
        return f"{name} does not weigh modalities by attention."
    if model.fusion.attention is None:
        return f"This {name} was trained without its modality attention."
    if len(data.modalities) < 2:
        return (
            f"The data set has one modality, {data.modalities[0]}, whose "
            f"weight is always one."
        )
    return ""


def modality_weights(model: Any, data: HeteroData) -> ModalityWeights:
    r"""Returns the attention weights of all items.

    Args:
        model (TMFUN): The model.
        data (HeteroData): The data set.
    """
    _, weight = model.modality_weights(data)
    return ModalityWeights(
        data.modalities,
        weight.double().cpu().numpy(),
        data["item"].mask[:, :-1].all(dim=1).cpu().numpy(),
        training_counts(data, "item"),
    )


def choose_items(
    popularity: np.ndarray, wanted: Sequence[int], num: int = 4
) -> List[Tuple[str, int]]:
    r"""Chooses items to show individually, each with the reason: the requested
    ones, or the most and least popular ones and some sampled with a fixed
    seed.

    Args:
        popularity (np.ndarray): The number of training interactions of each
            item.
        wanted (Sequence[int]): The requested items.
        num (int, optional): The number of each kind. (default: :obj:`4`)
    """
    if len(wanted) > 0:
        return [("asked for", item) for item in wanted]
    order = np.argsort(-popularity, kind="stable").tolist()
    most, rest = order[:num], order[num:]
    rest, least = rest[:-num], rest[-num:]
    drawn = np.random.default_rng(0).permutation(rest)[:num].tolist()
    groups = {"most popular": most, "random": drawn, "least popular": least}
    return [(why, item) for why, group in groups.items() for item in group]


def find_items(item_ids: np.ndarray, wanted: Sequence[Any]) -> List[int]:
    r"""Returns the indices of raw ids, without duplicates.

    Args:
        item_ids (np.ndarray): The raw ids of all items.
        wanted (Sequence[Any]): The ids to find, as strings or as they are.

    Raises:
        ValueError: If some do not exist.
    """
    raw = list(dict.fromkeys(map(str, wanted)))
    index = index_by_text(item_ids)
    unknown = [text for text in raw if text not in index]
    if len(unknown) > 0:
        raise ValueError(
            f"'items' must hold raw ids such as {str(item_ids[0])!r} (got "
            f"{unknown})"
        )
    return [index[text] for text in raw]


def name_of(dataset: Any) -> str:
    r"""Returns the class of a data set, and its name if it has one.

    Args:
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
    """
    name = getattr(dataset, "name", None)
    return type(dataset).__name__ + (f" '{name}'" if name else "")


def describe(dataset: Any) -> Dict[str, str]:
    r"""Describes a data set by its name and sizes.

    Args:
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
    """
    data = dataset[0]
    store, item = data["user", "interacts", "item"], data["item"]
    num_users, num_items = data["user"].num_nodes, item.num_nodes
    num_train = store.edge_index.size(1)
    modalities = []
    for name in dataset.modalities:
        mask = item.get(f"mask_{name}", torch.ones(num_items))
        size = item[f"x_{name}"].size(1)
        modalities.append(
            f"{name} ({size} features, {int(mask.sum()):,} items)"
        )
    return {
        "data set": name_of(dataset),
        "users": f"{num_users:,}",
        "items": f"{num_items:,}",
        "training interactions": f"{num_train:,}",
        "validation interactions": f"{store.val_edge_label_index.size(1):,}",
        "test interactions": f"{store.test_edge_label_index.size(1):,}",
        "density of training": f"{num_train / num_users / num_items:.3%}",
        "modalities": ", ".join(modalities) or "none",
    }

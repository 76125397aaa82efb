"""Accuracy by the activity of users and by the popularity of items."""

from typing import Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import RankingEvaluator, per_user_metrics
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.report._bins import Bins, quantile_bins, training_counts
from tmfun_pyg.utils.user_items import UserItems

K = 20  # The length of the lists.

Embeddings = Tuple[Tensor, Tensor]


class Binned(NamedTuple):
    r"""Means by bin.

    Args:
        bins (Bins): The bins.
        size (np.ndarray): The number of values in each bin.
        mean (np.ndarray): Their mean.
        error (np.ndarray): Its standard error, NaN for a single value.
    """

    bins: Bins
    size: np.ndarray
    mean: np.ndarray
    error: np.ndarray


def mean_by_bin(count: np.ndarray, value: np.ndarray, bins: Bins) -> Binned:
    r"""Averages the values of each bin.

    Args:
        count (np.ndarray): What decides on the bin of each value.
        value (np.ndarray): The values, in the same order.
        bins (Bins): The bins, none of them empty.
    """
    place = bins.place(count)
    size = np.bincount(place, minlength=len(bins))
    mean = np.bincount(place, value, len(bins)) / size
    square = np.bincount(place, (value - mean[place]) ** 2, len(bins))
    with np.errstate(invalid="ignore"):
        error = np.sqrt(square / (size - 1) / size)
    return Binned(bins, size, mean, error)


def accuracy_by_activity(
    embeddings: Embeddings, data: HeteroData, split: str
) -> Dict[str, Binned]:
    r"""Averages Recall@20 and NDCG@20 of the users of each bin of training
    interactions.

    Args:
        embeddings ((torch.Tensor, torch.Tensor)): Those of all users and all
            items.
        data (HeteroData): The data set.
        split (str): The split.

    Returns:
        The averages of :obj:`"recall"` and :obj:`"ndcg"`.
    """
    metrics = {
        name: value.cpu().numpy()
        for name, value in per_user_metrics(embeddings, data, split, K).items()
    }
    count = training_counts(data, "user").numpy()[metrics["user"]]
    bins = quantile_bins(count)
    return {
        name: mean_by_bin(count, metrics[name], bins)
        for name in ("recall", "ndcg")
    }


def recall_by_popularity(
    embeddings: Embeddings, data: HeteroData, split: str
) -> Binned:
    r"""Computes the share of held-out interactions that are among the first
    20 items of their user, by bins of the item's training interactions. The
    bins hold about equally many held-out interactions, and those of cold
    items, without a training interaction, are apart.

    Args:
        embeddings ((torch.Tensor, torch.Tensor)): Those of all users and all
            items.
        data (HeteroData): The data set.
        split (str): The split.
    """
    item, hit = held_out_hits(embeddings, data, split)
    count = training_counts(data, "item").numpy()[item.numpy()]
    bins = quantile_bins(count, zero_apart=True)
    return mean_by_bin(count, hit.double().numpy(), bins)


@torch.no_grad()
def held_out_hits(
    embeddings: Embeddings, data: HeteroData, split: str, k: int = K
) -> Tuple[Tensor, Tensor]:
    r"""Ranks all items for every user of a split, as
    :func:`~tmfun_pyg.evaluation.evaluate` does, and tells which held-out
    interactions are found.

    Args:
        embeddings ((torch.Tensor, torch.Tensor)): Those of all users and all
            items.
        data (HeteroData): The data set.
        split (str): The split.
        k (int, optional): The length of the lists. (default: :obj:`K`)

    Returns:
        The items of the held-out interactions, and whether each is among the
        first :obj:`k` of its user.
    """
    user_emb, item_emb = embeddings
    num_items = item_emb.size(0)
    train = data["user", "interacts", "item"].edge_index.to(item_emb.device)
    seen = UserItems.from_edge_index(train, user_emb.size(0))
    evaluator = RankingEvaluator(user_emb, item_emb, seen, [k])
    blocks = HeldOutDataset(data, split, device=item_emb.device)
    items: List[Tensor] = []
    hits: List[Tensor] = []
    for index in range(len(blocks)):
        user, (row, item) = blocks[index]
        # No item has the number of all of them; one more keeps rows apart.
        start = torch.arange(user.numel(), device=user.device)
        start = start.view(-1, 1) * (num_items + 1)
        ranked = evaluator.rank(user) + start
        items.append(item.cpu())
        hits.append(torch.isin(item + start[row, 0], ranked).cpu())
    return torch.cat(items), torch.cat(hits)

"""How TMFUN weighs the modalities of the items."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.nn import TMFUN, RankingModel
from tmfun_pyg.report._bins import Bins, quantile_bins, training_counts

NUM_MOST, NUM_LEAST, NUM_RANDOM = 4, 4, 4


class ModalityWeights(NamedTuple):
    r"""The weights of the modalities in the early-step fusion.

    Args:
        modalities (List[str]): The names of the modalities.
        weight (np.ndarray): The weights, of shape
            :obj:`[num_items, num_modalities]`.
        is_complete (np.ndarray): Which items have all modalities.
        popularity (np.ndarray): The training interactions of each item.
    """

    modalities: List[str]
    weight: np.ndarray
    is_complete: np.ndarray
    popularity: np.ndarray

    def by_popularity(self) -> Tuple[Bins, np.ndarray, np.ndarray]:
        r"""Returns bins of training interactions, the number of items with
        all modalities in each, and quartiles of the weights there, of shape
        :obj:`[3, num_bins, num_modalities]`.
        """
        count = self.popularity[self.is_complete]
        weight = self.weight[self.is_complete]
        bins = quantile_bins(count, zero_apart=True)
        place = bins.place(count)
        size = np.bincount(place, minlength=len(bins))
        quartiles = [
            np.quantile(weight[place == b], [0.25, 0.5, 0.75], axis=0)
            for b in range(len(bins))
        ]
        return bins, size, np.stack(quartiles, axis=1)


def why_no_weights(model: RankingModel) -> Optional[str]:
    r"""Tells in a sentence why there is nothing to show of a model, if so."""
    name = type(model).__name__
    if not isinstance(model, TMFUN):
        return f"{name} does not weigh modalities by attention."
    if model.attention is None:
        return f"This {name} was trained without its modality attention."
    if len(model.modalities) < 2:
        return (
            f"The data set has one modality, {model.modalities[0]}, whose "
            f"weight is always one."
        )
    return None


@torch.no_grad()
def modality_weights(model: TMFUN, data: HeteroData) -> ModalityWeights:
    r"""Computes the weights of all items.

    Args:
        model (TMFUN): The model, bound to the data set.
        data (HeteroData): The data set.
    """
    is_complete = torch.ones(model.num_items, dtype=torch.bool)
    for name in model.modalities:
        mask = data["item"].get(f"mask_{name}")
        if mask is not None:
            is_complete &= mask.cpu()
    return ModalityWeights(
        model.modalities,
        model.item_modality_weights().double().cpu().numpy(),
        is_complete.numpy(),
        training_counts(data, "item").numpy(),
    )


class ChosenItems(NamedTuple):
    r"""Items to be shown one by one.

    Args:
        why (List[str]): Why each was chosen.
        items (List[int]): Their indices.
    """

    why: List[str]
    items: List[int]


def choose_items(popularity: np.ndarray, wanted: Sequence[int]) -> ChosenItems:
    r"""Chooses the items that the user asks for. If there are none, it
    chooses the most and the least popular ones, and a few at random by a
    fixed seed.

    Args:
        popularity (np.ndarray): The training interactions of each item.
        wanted (Sequence[int]): The items asked for.
    """
    if len(wanted) > 0:
        return ChosenItems(["asked for"] * len(wanted), list(wanted))
    order = np.argsort(-popularity, kind="stable").tolist()
    most = order[:NUM_MOST]
    least = order[NUM_MOST:][-NUM_LEAST:]
    rest = np.setdiff1d(np.arange(len(popularity)), most + least)
    drawn = np.random.default_rng(0).permutation(rest)[:NUM_RANDOM].tolist()
    why = ["most popular"] * len(most)
    why += ["random"] * len(drawn) + ["least popular"] * len(least)
    return ChosenItems(why, most + drawn + least)


def find_items(item_ids: np.ndarray, wanted: Sequence[Any]) -> List[int]:
    r"""Returns the indices of raw ids, each once.

    Args:
        item_ids (np.ndarray): The raw ids of all items.
        wanted (Sequence[Any]): The ids to find, as strings or as they are.

    Raises:
        ValueError: If some are not there.
    """
    wanted = list(dict.fromkeys(str(item) for item in wanted))
    place = {str(item): i for i, item in enumerate(item_ids.tolist())}
    unknown = [item for item in wanted if item not in place]
    if len(unknown) > 0:
        raise ValueError(
            f"'items': found {unknown}, expected raw ids of the data set's "
            f"{len(item_ids)} items, such as {str(item_ids[0])!r}"
        )
    return [place[item] for item in wanted]

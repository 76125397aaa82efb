"""The most similar items or users, by their vectors."""

from typing import Any, Iterable, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.content_knn import unit_features
from tmfun_pyg.recommender.filtered_ranking import FilteredRanking
from tmfun_pyg.recommender.item_filter import ItemFilter
from tmfun_pyg.recommender.raw_ids import ids_or_none
from tmfun_pyg.utils.ids import RawIds, check_list, ids_as_text
from tmfun_pyg.utils.messages import check_count, name_items


class SimilarityScorer:
    r"""Scores by inner product, with :obj:`-inf` if either vector is zero,
    and :obj:`inf` for each with itself, so that it comes first in its own
    list, even among equal vectors: a
    :class:`~tmfun_pyg.utils.retrieval.Scorer`.

    Args:
        query (torch.Tensor): The vectors of all possible queries, of shape
            :obj:`[num_users, channels]`.
        vector (torch.Tensor): The vectors to search, of shape
            :obj:`[num_items, channels]`.
        index (torch.Tensor): Their indices among all, of shape
            :obj:`[num_items]`.
    """

    def __init__(self, query: Tensor, vector: Tensor, index: Tensor) -> None:
        self.query, self.vector, self.index = query, vector, index
        self.is_zero = ~vector.any(dim=1)
        self.num_users, self.num_items = len(query), len(vector)
        self.device = vector.device

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        query = self.query[user]
        nothing = ~query.any(dim=1, keepdim=True) | self.is_zero
        score = query @ self.vector.t()
        score.masked_fill_(user.view(-1, 1) == self.index, torch.inf)
        return score.masked_fill_(nothing, -torch.inf)

    def select(self, item: Tensor) -> "SimilarityScorer":
        r"""Returns a scorer of some of the items only."""
        return SimilarityScorer(self.query, self.vector[item], self.index[item])


@torch.no_grad()
def most_similar(
    vector: Tensor,
    raw_ids: RawIds,
    ids: Iterable[Any],
    k: int,
    item_filter: Optional[ItemFilter] = None,
) -> Tuple[np.ndarray, np.ndarray]:
    r"""Returns the raw ids and scores of the vectors with the largest inner
    products, both of shape :obj:`[num_ids, k]`. Each query comes first in its
    own list if it is eligible.

    Args:
        vector (torch.Tensor): All vectors, with a norm of at most one, zero
            for those that are in no list.
        raw_ids (RawIds): The raw ids of all.
        ids (Iterable[int or str]): The raw ids of the queries.
        k (int): The length of the lists, at most the number of candidates.
        item_filter (ItemFilter, optional): The items that may be in a list.
            (default: :obj:`None`)
    """
    check_count("k", k)
    check_list("ids", ids)
    asked = ids_as_text("ids", ids)
    if item_filter is not None:
        item_filter.check_keys(raw_ids, np.array(asked, dtype=np.str_))
    index = torch.from_numpy(raw_ids.find_some("ids", asked))
    every = torch.arange(len(vector), device=vector.device)
    ranking = FilteredRanking(
        SimilarityScorer(vector, vector, every),
        item_filter or ItemFilter(raw_ids),
    )
    k = min(k, ranking.scorer.num_items)
    is_unknown = index < 0
    index = index.clamp(min=0).to(vector.device)
    score, found = ranking.topk(k, index, asked)
    # At least the next score, however equal vectors are rounded:
    own = vector[index].square().sum(dim=1)
    own = own.maximum(score[:, 1]) if k > 1 else own
    score[:, 0] = own.where(score[:, 0] == torch.inf, score[:, 0])
    score.clamp_(max=1.0)  # They are cosines.
    score[is_unknown], found[is_unknown] = -torch.inf, -1
    return ids_or_none(raw_ids.ids, found.cpu().numpy()), score.cpu().numpy()


def check_known(
    raw_ids: RawIds, asked: List[str], known: Tensor, model: str
) -> None:
    r"""Checks that a model knows the items to compare by embedding.

    Args:
        raw_ids (RawIds): The raw ids of all items.
        asked (List[str]): The raw ids of the items, as text.
        known (torch.Tensor): Whether the model knows each item.
        model (str): The name of the model.

    Raises:
        ValueError: If it does not.
    """
    unknown = _places(raw_ids, asked, ~known)
    if unknown.size > 0:
        raise ValueError(
            f"'ids' must have training interactions to be compared by the "
            f"embedding of {model}, which reads no features (got "
            f"{name_items(raw_ids.ids[unknown])})"
        )


def check_described(
    raw_ids: RawIds, asked: List[str], vector: Tensor, by: str
) -> None:
    r"""Checks that the items to compare by content have content.

    Args:
        raw_ids (RawIds): The raw ids of all items.
        asked (List[str]): The raw ids of the items, as text.
        vector (torch.Tensor): The vectors of :func:`content_vectors`.
        by (str): The modality, or :obj:`"content"`, as there.

    Raises:
        ValueError: If one has none.
    """
    lacking = _places(raw_ids, asked, ~vector.any(dim=1))
    if lacking.size > 0:
        what = "content" if by == "content" else f"the modality '{by}'"
        raise ValueError(
            f"'ids' must have {what} that tells them from the mean item (got "
            f"none for {name_items(raw_ids.ids[lacking])})"
        )


def _places(raw_ids: RawIds, asked: List[str], which: Tensor) -> np.ndarray:
    """Returns the indices of the requested items that are in a mask."""
    found = [raw_ids.place_of.get(name, -1) for name in asked]
    place = np.unique(np.array(found, dtype=np.int64))
    return place[(place >= 0) & which.cpu().numpy()[place]]


@torch.no_grad()
def content_vectors(data: HeteroData, by: str) -> Tensor:
    r"""Returns item vectors whose inner products are the cosines of their
    features, centered as in :class:`~tmfun_pyg.baselines.ContentKNN`.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        by (str): A modality, or :obj:`"content"` for the mean over all.
    """
    names = list(data.modalities)
    if by not in names and (by != "content" or not names):
        choices = ["embedding", *(["content"] if names else []), *names]
        raise ValueError(
            f"'by' must be one of {', '.join(choices)} (got {by!r})"
        )
    units = [unit.float() for unit in unit_features(data)]
    if by == "content":
        return torch.cat(units, dim=1) / len(units) ** 0.5
    return units[names.index(by)]

"""Lists of recommendations from raw ids to raw ids."""

from itertools import islice
from typing import Any, Iterable, Iterator, Optional

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.recommender.fallback_scorer import FallbackScorer
from tmfun_pyg.recommender.recommendations import Recommendations
from tmfun_pyg.utils.ids import check_list, ids_as_text, index_by_text
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.retrieval import blocked_topk, candidate_items
from tmfun_pyg.utils.user_items import UserItems

CHUNK = 2**15  # Users answered at once, in blocks that are smaller still.


@torch.no_grad()
def recommend_ids(
    scorer: FallbackScorer,
    seen: UserItems,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    users: Optional[Iterable[Any]] = None,
    k: int = 20,
    items: Optional[Iterable[Any]] = None,
    exclude_seen: bool = True,
) -> Iterator[Recommendations]:
    r"""Recommends the items of highest score to users, some thousand at a
    time.

    Args:
        scorer (FallbackScorer): The scores.
        seen (UserItems): The items that each user has.
        user_ids (np.ndarray): The raw ids of the users, by index.
        item_ids (np.ndarray): The raw ids of the items, by index.
        users (Iterable[int or str], optional): The raw ids of those who ask,
            all if not given. (default: :obj:`None`)
        k (int, optional): The length of the lists, cut to the number of
            items. (default: :obj:`20`)
        items (Iterable[int or str], optional): The raw ids of the only items
            to be recommended, all if not given. (default: :obj:`None`)
        exclude_seen (bool, optional): Whether to leave out what a user has.
            (default: :obj:`True`)
    """
    check_count("k", k)
    if users is not None:  # A string would pass for its characters.
        check_list("users", users)
    # With a row more for the user who is not in the data set:
    seen = UserItems(torch.cat([seen.rowptr, seen.rowptr[-1:]]), seen.col)
    known = scorer.known
    if items is not None:
        index = find_ids("items", items, item_ids).to(scorer.device)
        index, place = candidate_items(index, len(item_ids))
        scorer, seen = scorer.select(index), seen.select(place)
        item_ids = item_ids[index.cpu().numpy()]
    k = min(k, scorer.num_items)
    place_of, stranger = index_by_text(user_ids), len(user_ids)
    for asked in _chunks(user_ids if users is None else users):
        names = ids_as_text("users", asked)
        row = [place_of.get(name, stranger) for name in names]
        user = torch.tensor(row, dtype=torch.long, device=scorer.device)
        score, item = blocked_topk(
            scorer, k, user, seen if exclude_seen else None
        )
        yield Recommendations(
            np.array(asked) if asked else user_ids[:0],
            _ids_or_none(item_ids, item.cpu().numpy()),
            score.cpu().numpy(),
            known[user].cpu().numpy(),
        )


def find_ids(name: str, raw: Iterable[Any], ids: np.ndarray) -> Tensor:
    r"""Returns the indices of raw ids.

    Args:
        name (str): What an error calls them.
        raw (Iterable[int or str]): The ids.
        ids (np.ndarray): All raw ids, by index.

    Raises:
        ValueError: If one is not there.
    """
    asked = ids_as_text(name, raw)
    index = index_by_text(ids)
    unknown = [text for text in asked if text not in index]
    if unknown:
        raise ValueError(
            f"'{name}' must be in the data set, with ids such as {ids[0]} "
            f"(got {unknown[0]})"
        )
    return torch.tensor([index[text] for text in asked], dtype=torch.long)


def _chunks(values: Iterable[Any]) -> Iterator[list]:
    """Cuts values into lists, the first of which may be empty."""
    rest = iter(values)
    yield list(islice(rest, CHUNK))
    yield from iter(lambda: list(islice(rest, CHUNK)), [])


def _ids_or_none(ids: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns raw ids, and ``-1`` or ``""`` for an index of -1."""
    return np.where(index < 0, -1 if ids.dtype.kind == "i" else "", ids[index])

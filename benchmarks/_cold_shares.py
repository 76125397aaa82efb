"""The cost and benefit of reserving a share of each list for cold items."""

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch
from _options import MODELS, model_class
from _report import table
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.recommender.cold_slots import ColdSlots
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.neighbor_scorer import NeighborScorer, NeighborTables
from tmfun_pyg.utils.retrieval import (
    EmbeddingScorer,
    rank_scores,
    score_block,
    user_blocks,
)
from tmfun_pyg.utils.user_items import UserItems

K = 20
COLUMNS = (f"warm R@{K}", f"cold R@{K}", "cold items shown")
BASE = "ContentKNN"


def save_scorer(path: Path, scorer: EmbeddingScorer) -> None:
    """Writes a scorer to evaluate shares without retraining."""
    emb = {"user": scorer.user_emb, "item": scorer.item_emb}
    arrays = {name: x.cpu().numpy() for name, x in emb.items()}
    if isinstance(scorer, NeighborScorer):
        arrays.update(scorer.tables().arrays())
    with atomic_write(path) as part:
        np.savez(part, **arrays)


def read_scorer(path: Path) -> EmbeddingScorer:
    """Reads a file of `save_scorer`."""
    with np.load(path, allow_pickle=False) as arrays:
        emb = (torch.from_numpy(arrays[name]) for name in ("user", "item"))
        scorer = EmbeddingScorer(*emb)
        if "neighbor" not in arrays:
            return scorer
        tables = NeighborTables.from_arrays(arrays)
        return NeighborScorer.from_tables(scorer, tables)


def compare_shares(
    out: Path, data: HeteroData, shares: List[float]
) -> List[Dict[str, Any]]:
    """Returns a row of means over the seeds for each share and each model that
    scores cold items.
    """
    rows: List[Dict[str, Any]] = []
    for model in MODELS:
        runs = sorted((out / model).glob("seed_*.json"))
        if not runs or not model_class(model).supports_cold_items:
            continue
        paths = [run.with_suffix(".npz") for run in runs]
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise ValueError(
                f"{missing[0]} must exist: remove the .json file beside it for "
                f"another run"
            )
        values = np.mean([_curve(path, data, shares) for path in paths], axis=0)
        for share, row in zip(shares, values.tolist(), strict=True):
            found = dict(zip(COLUMNS, row, strict=True))
            rows.append({"model": model, "share": share, **found})
    for row in rows:  # The figures of interest are ratios.
        for title, column, of in (
            ("warm, of that at 0", COLUMNS[0], (row["model"], 0.0)),
            (f"cold, of {BASE}'s", COLUMNS[1], (BASE, row["share"])),
        ):
            base = [x for x in rows if (x["model"], x["share"]) == of]
            row[title] = row[column] / base[0][column] if base else None
    return rows


def share_table(rows: List[Dict[str, Any]]) -> List[str]:
    """Returns the lines of a table."""
    body = [
        [str(model), str(share)]
        + ["" if x is None else f"{x:.4f}" for x in values]
        for model, share, *values in (row.values() for row in rows)
    ]
    title = f"## With a share of lists of {K} for cold items"
    return ["", title, "", *table([*rows[0]], body)] if rows else []


def _curve(
    path: Path, data: HeteroData, shares: List[float]
) -> List[List[float]]:
    """Returns the values of COLUMNS for each share."""
    scorer = read_scorer(path)
    store, is_cold = data["user", "interacts", "item"], data["item"].is_cold
    user = data["user"].degree.nonzero().view(-1)
    out = []
    for share in shares:
        lists = torch.full((data["user"].num_nodes, K), -1)
        lists[user] = _lists(scorer, data, share, user)
        shown = lists.unique()
        out.append(
            [
                _recall(lists, store.test_edge_label_index),
                _recall(lists, store.cold_test_edge_label_index),
                float(is_cold[shown[shown >= 0]].sum() / is_cold.sum()),
            ]
        )
    return out


def _lists(
    scorer: EmbeddingScorer, data: HeteroData, share: float, user: Tensor
) -> Tensor:
    known = data["user"].degree > 0
    edge_index = data["user", "interacts", "item"].edge_index
    seen = UserItems.from_edge_index(edge_index, len(known))
    slots = ColdSlots(share, data["item"].is_cold, known)
    blocks = []
    for block in user_blocks(user, scorer.num_items):
        scores = score_block(scorer, block)
        scores[seen.edges_of(block)] = -torch.inf
        if share > 0:
            blocks.append(slots.rank(scores, K, block)[1])
        else:
            blocks.append(rank_scores(scores, K)[1])
    return torch.cat(blocks)


def _recall(lists: Tensor, pairs: Tensor) -> float:
    """Returns the mean share of users' items that are in their lists, over
    users who have a list.
    """
    user, item = pairs[:, lists[pairs[0], 0] >= 0]
    is_found = (lists[user] == item.view(-1, 1)).any(dim=1)
    count, found = user.bincount(), user.bincount(is_found.float())
    return float((found[count > 0] / count[count > 0]).mean())

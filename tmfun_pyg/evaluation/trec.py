r"""Files in TREC format, which pytrec_eval, trec_eval and ranx read."""

import os
import re
from typing import Iterable, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.datasets.rec_dataset import RecDataset
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.utils.files import atomic_write

PathLike = Union[str, "os.PathLike[str]"]
Ids = Union[np.ndarray, Sequence]


def write_trec_run(
    path: PathLike,
    user_ids: Ids,
    item_ids: Ids,
    score: Tensor,
    item: Tensor,
    tag: str = "tmfun",
) -> None:
    r"""Writes recommendations as a TREC run: one line
    ``<user> Q0 <item> <rank> <score> <tag>`` each, with ranks from 1.

    .. code-block:: python

        score, item = blocked_topk(model.scorer(data), 50, seen=seen)
        ids = dataset.user_ids, dataset.item_ids
        write_trec_run("tmfun.run", *ids, score, item)
        write_qrels("test.qrels", dataset, "test")

    TREC tools ignore the ranks and sort by score. Scores are written with all
    digits of their type, so that different scores keep their order; tools that
    compute in single precision (trec_eval, pytrec_eval) may still round scores
    in double precision to ties. Ties, which are broken by item index here, are
    broken by each tool's own rule, such as by item id, so metrics may differ
    for lists with ties.

    In these tools, recall, NDCG and precision at :math:`k`, up to the length
    of the lists, equal those of :func:`~tmfun_pyg.evaluation.evaluate`
    (ranx: :obj:`recall`, :obj:`ndcg`, :obj:`precision`; pytrec_eval:
    :obj:`recall`, :obj:`ndcg_cut`, :obj:`P`). Mean average precision
    (:obj:`map`, :obj:`map_cut`) does not: they divide a user's sum of
    precisions by the number :math:`n_u` of held-out items, ours by
    :math:`\min(k, n_u)`, the most that a list can hold. Theirs is
    :math:`\min(k, n_u) / n_u` times ours for each user: the same if
    :math:`n_u \leq k`.

    Args:
        path (str): The file to write. An existing file is replaced.
        user_ids (np.ndarray): The raw id of the user of each row, such as
            :obj:`dataset.user_ids`, or :obj:`dataset.user_ids[user_index]`
            for some of the users.
        item_ids (np.ndarray): The raw ids of all items, by item index.
        score (torch.Tensor): The scores, of shape :obj:`[num_rows, k]`, in
            descending order, as
            :func:`~tmfun_pyg.utils.retrieval.blocked_topk` returns them.
        item (torch.Tensor): The item indices, of the same shape. Places with
            :obj:`-1` are left out.
        tag (str, optional): The name of the run. (default: :obj:`"tmfun"`)

    Raises:
        ValueError: If shapes do not match, if a score is not finite or an
            item out of range, if users repeat, or if the tag or an id is empty
            or holds white space, which separates columns in TREC files.
            Nothing is written then.
    """
    score, item = score.detach().cpu(), item.detach().cpu()
    _check_lists(len(user_ids), len(item_ids), score, item)
    _to_names("tag", [tag])
    if score.dtype not in (torch.float32, torch.float64):
        score = score.float()
    present = item >= 0
    users = _to_names("user_ids", user_ids)
    items = _to_names("item_ids", item_ids)

    lines = zip(
        users[present.nonzero()[:, 0].numpy()],
        items[item[present].numpy()],
        present.cumsum(dim=1)[present].tolist(),
        # The shortest text that reads back as the same number.
        score[present].numpy().astype(np.str_),
        strict=True,
    )
    _write_lines(path, (f"{u} Q0 {i} {r} {s} {tag}\n" for u, i, r, s in lines))


def write_qrels(
    path: PathLike, dataset: RecDataset, split: str = "test"
) -> None:
    r"""Writes the held-out interactions of a split as TREC relevance
    judgements (qrels): one line :obj:`<user> 0 <item> 1` each.

    Users without a training interaction are left out, as in
    :func:`~tmfun_pyg.evaluation.evaluate`. A run may still hold such users:
    pytrec_eval skips them by default, ranx on request
    (:obj:`ranx.evaluate(qrels, run, metrics, make_comparable=True)`).

    Args:
        path (str): The file to write. An existing file is replaced.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
        split (str, optional): The split, :obj:`"val"`, :obj:`"test"` or any
            other whose :obj:`<split>_edge_label_index` is in the graph.
            (default: :obj:`"test"`)

    Raises:
        ValueError: If the split does not exist or holds no user to evaluate,
            or if an id repeats, is empty or holds white space, which separates
            columns in TREC files. Nothing is written then.
    """
    graph = dataset[0]
    held_out = HeldOutDataset(graph, split, int(graph["user"].num_nodes))
    user, (row, item) = held_out[0]
    users = _to_names("user_ids", dataset.user_ids)
    items = _to_names("item_ids", dataset.item_ids)
    pairs = zip(
        users[user[row].cpu().numpy()], items[item.cpu().numpy()], strict=True
    )
    _write_lines(path, (f"{user} 0 {item} 1\n" for user, item in pairs))


def _check_lists(
    num_users: int, num_items: int, score: Tensor, item: Tensor
) -> None:
    if score.dim() != 2 or score.size() != item.size():
        raise ValueError(
            f"'score' and 'item' must be matrices of one shape (got "
            f"{list(score.size())} and {list(item.size())})"
        )
    if num_users != score.size(0):
        raise ValueError(
            f"'user_ids' must name the users of {score.size(0)} rows (got "
            f"{num_users})"
        )
    if item.numel() > 0 and not -1 <= item.min() <= item.max() < num_items:
        raise ValueError(
            f"'item' must hold indices from 0 to {num_items - 1}, or -1 (got "
            f"{int(item.min())} to {int(item.max())})"
        )
    if not bool(score[item >= 0].isfinite().all()):
        raise ValueError("'score' holds NaN or infinity for an item")


def _to_names(argument: str, ids: Ids) -> np.ndarray:
    names = np.asarray(ids).astype(np.str_)
    distinct, count = np.unique(names, return_counts=True)
    if len(distinct) < len(names):
        raise ValueError(
            f"'{argument}' holds '{distinct[count.argmax()]}' more than once"
        )
    bad = [name for name in distinct.tolist() if not re.fullmatch(r"\S+", name)]
    if bad:
        raise ValueError(
            f"'{argument}' holds {bad[0]!r}, which is empty or holds white "
            f"space: files of TREC are split there"
        )
    return names


def _write_lines(path: PathLike, lines: Iterable[str]) -> None:
    with (
        atomic_write(path) as part,
        part.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(lines)

from dataclasses import dataclass
from typing import Any, Dict, List

import numpy as np
import torch

from tmfun_pyg.datasets._content import SPLITS, Content
from tmfun_pyg.datasets._log import Log
from tmfun_pyg.datasets._times import suspect_times

# Suspicious: a split that can evaluate fewer users, whose metrics would be
# noisy; users with more than that many times the median number of
# interactions; a larger mean cosine of items; features for a smaller share of
# the items; fewer feature columns: standardized, a row of two is just a sign.
FEW_USERS = 100
MANY_TIMES = 100
LARGE_COSINE = 0.9
SMALL_SHARE = 0.5
FEW_COLUMNS = 3
TEXT = """\
{name} ({settings})
{users:,} users, {items:,} items, {interactions:,} interactions ({splits}), \
density {density:.2e}
interactions per user: median {per_user[median]:g}, most \
{per_user[most]:,}, {per_user[share_with_one]:.1%} of the users with one; \
{untrained_users:,} users have none for training
interactions per item: median {per_item[median]:g}, most \
{per_item[most]:,}, {per_item[share_with_one]:.1%} of the items with one; \
{untrained_items:,} items have none for training
users that can be judged, with training and held-out interactions: {judged}
cold items, with features but no interaction: {cold_items:,}
repeated interactions, dropped: {duplicates:,}
dropped by k_core: {dropped}"""
MODALITY = """\
modality '{name}': {features:,} features{projected} of {present:,} items, \
{missing:,} \
without; norms {smallest_norm:.3g} to {largest_norm:.3g}, median \
{median_norm:.3g}"""


@dataclass
class PrepareReport:
    r"""The statistics of a data set of :func:`~tmfun_pyg.datasets.prepare`,
    as in :obj:`report.json`. :func:`str` returns them as text.

    Args:
        name (str): The name of the data set.
        settings (Dict[str, Any]): The options of the split and the k-core.
        users (int): The number of users.
        items (int): The number of items, cold items included.
        interactions (int): The number of interactions of all splits.
        density (float): The ratio of interactions to (user, item) pairs.
        splits (Dict[str, int]): The number of interactions in each split.
        per_user (Dict[str, float]): The :obj:`median` and maximum
            (:obj:`most`) number of interactions of a user, and the share of
            users with a single one (:obj:`share_with_one`).
        per_item (Dict[str, float]): The same for items with interactions.
        judged (Dict[str, int]): The number of users that validation and test
            can evaluate: those with interactions in training and in the split.
        untrained_users (int): The number of users without a training
            interaction.
        untrained_items (int): The number of items with interactions, but
            none for training.
        cold_items (int): The number of items without interactions.
        duplicates (int): The number of repeated interactions that were
            dropped.
        dropped (Dict[str, int]): The :obj:`users`, :obj:`items` and
            :obj:`interactions` outside the k-core.
        modalities (Dict[str, Dict[str, float]]): For each modality the
            number of :obj:`features`, and of :obj:`raw_features` before
            projection, the number of items that have it (:obj:`present`,
            those with training interactions :obj:`trained`) and lack it
            (:obj:`missing`), and the :obj:`smallest_norm`,
            :obj:`median_norm` and :obj:`largest_norm` of a row.
        item_table (Dict[str, int]): The number of items with a title, a
            picture or a group, for the given columns.
        ignored (List[str]): The parts of a file of items that were not read,
            one short line each.
        assumed (List[str]): The assumptions about the data, one short line
            each.
        suspicious (List[str]): Possible errors in the data, one short line
            each.
    """

    name: str
    settings: Dict[str, Any]
    users: int
    items: int
    interactions: int
    density: float
    splits: Dict[str, int]
    per_user: Dict[str, float]
    per_item: Dict[str, float]
    judged: Dict[str, int]
    untrained_users: int
    untrained_items: int
    cold_items: int
    duplicates: int
    dropped: Dict[str, int]
    modalities: Dict[str, Dict[str, float]]
    item_table: Dict[str, int]
    ignored: List[str]
    assumed: List[str]
    suspicious: List[str]

    def __str__(self) -> str:
        values = vars(self).copy()
        values["settings"] = ", ".join(
            f"{name}={value!r}" for name, value in self.settings.items()
        )
        for key in ("splits", "judged", "dropped"):
            counts = values[key].items()
            values[key] = ", ".join(f"{n:,} {name}" for name, n in counts)
        lines = [TEXT.format_map(values)]
        for name, numbers in self.modalities.items():
            raw, projected = numbers["raw_features"], ""
            if raw > numbers["features"]:
                projected = f" (projected from {raw:,})"
            line = MODALITY.format(name=name, projected=projected, **numbers)
            lines.append(line)
        if self.item_table:
            counts = ", ".join(
                f"{c} of {n:,}" for c, n in self.item_table.items()
            )
            lines.append(f"items: {counts}")
        for key in ("ignored", "assumed", "suspicious"):
            lines += [f"{key}: {line}" for line in values[key]]
        return "\n".join(lines)


def describe(
    name: str,
    settings: Dict[str, Any],
    content: Content,
    log: Log,
    without_ids: List[str],
    ignored: List[str],
) -> PrepareReport:
    """Returns the statistics of a data set that was built from a log.

    Args:
        name (str): The name of the data set.
        settings (Dict[str, Any]): The options of the split and the k-core.
        content (Content): The data set.
        log (Log): The log as it was read.
        without_ids (List[str]): The modalities that came without item ids.
        ignored (List[str]): The parts of a file of items that were not read.
    """
    num_users, num_items = len(content.user_ids), len(content.item_ids)
    # By split, then by user or item.
    by_user, by_item = (
        np.stack(
            [
                np.bincount(pairs[row].numpy(), minlength=size)
                for pairs in content.splits
            ]
        )
        for row, size in enumerate((num_users, num_items))
    )
    user_count, item_count = by_user.sum(axis=0), by_item.sum(axis=0)
    sizes = by_user.sum(axis=1).tolist()
    num_interactions = sum(sizes)
    warm = item_count > 0
    num_warm = int(warm.sum())

    train_count = by_user[0]
    judged = {
        split: int(((train_count > 0) & (count > 0)).sum())
        for split, count in zip(SPLITS[1:], by_user[1:], strict=True)
    }
    is_trained = by_item[0] > 0
    num_trained_items = int(is_trained.sum())
    suspicious = [
        f"{split} can judge only {count} users (fewer than {FEW_USERS})"
        for split, count in judged.items()
        if count < FEW_USERS
    ]
    suspicious += suspect_full_users(
        content.user_ids, train_count, num_trained_items
    )
    suspicious += suspect_users(content.user_ids, user_count)
    suspicious += suspect_singles(user_count, item_count)
    if "day" in log.rows:
        suspicious += suspect_times(
            log.units, log.rows["user"], log.rows["day"], settings["split"]
        )
    modalities: Dict[str, Dict[str, float]] = {}
    everywhere = torch.ones(num_items, dtype=torch.bool)
    for modality in content.modalities:
        store = content.data["item"]
        present = store.get(f"mask_{modality}", everywhere).numpy()
        matrix = store[f"x_{modality}"].numpy()[present]
        norm = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
        modalities[modality] = {
            "features": matrix.shape[1],
            "raw_features": len(content.projections.get(modality, matrix.T)),
            "present": len(matrix),
            "trained": int(present[is_trained].sum()),
            "missing": num_items - len(matrix),
            "smallest_norm": float(norm.min()),
            "median_norm": float(np.median(norm)),
            "largest_norm": float(norm.max()),
        }
        num_present = int(warm[present].sum())
        if num_present < SMALL_SHARE * num_warm:
            suspicious.append(
                f"modality '{modality}': only {num_present} of {num_warm} "
                f"items with interactions have it (ids of another log?)"
            )
        item_ids = content.item_ids[present]
        suspicious += suspect_features(modality, item_ids, matrix, norm)
    return PrepareReport(
        name=name,
        settings=settings,
        users=num_users,
        items=num_items,
        interactions=num_interactions,
        density=num_interactions / (num_users * num_items),
        splits=dict(zip(SPLITS, sizes, strict=True)),
        per_user=_count_activity(user_count),
        per_item=_count_activity(item_count[warm]),
        judged=judged,
        untrained_users=int((train_count == 0).sum()),
        untrained_items=num_warm - num_trained_items,
        cold_items=num_items - num_warm,
        duplicates=content.num_duplicates,
        dropped={
            "users": len(log.user_ids) - num_users,
            "items": len(log.item_ids) - num_warm,
            "interactions": len(log.rows) - num_interactions,
        },
        modalities=modalities,
        item_table={
            column: int((values != "").sum())
            for column, values in content.item_table.items()
        },
        ignored=ignored,
        assumed=[
            f"modality '{modality}': its rows, which have no ids, are in the "
            f"sorted order of the log's item ids: {_show_order(log.item_ids)}"
            for modality in without_ids
        ],
        suspicious=suspicious,
    )


def _show_order(ids: np.ndarray) -> str:
    """Returns the first three ids, which show whether they are text or
    numbers, and the last.
    """
    shown = [str(item) for item in ids[:3]]
    if len(ids) > 3:
        shown += ["...", str(ids[-1])]
    return ", ".join(shown)


def _count_activity(count: np.ndarray) -> Dict[str, float]:
    return {
        "median": float(np.median(count)),
        "most": int(count.max()),
        "share_with_one": float((count == 1).mean()),
    }


def suspect_users(user_ids: np.ndarray, count: np.ndarray) -> List[str]:
    """Reports users with extreme numbers of interactions."""
    median = float(np.median(count))
    num_extreme = int((count > MANY_TIMES * median).sum())
    if num_extreme == 0:
        return []
    most = int(count.argmax())
    share = count[most] / count.sum()
    return [
        f"{num_extreme} user(s) with more than {MANY_TIMES} times the median "
        f"of {median:g} interactions, such as '{user_ids[most]}' with "
        f"{count[most]} ({share:.1%} of all)"
    ]


def suspect_singles(
    user_count: np.ndarray, item_count: np.ndarray
) -> List[str]:
    """Reports logs where no user or no item occurs twice."""
    counts = {"user": user_count, "item": item_count}
    return [
        f"no {name} has more than one interaction (is this the right column of "
        f"{name} ids?)"
        for name, count in counts.items()
        if count.max() == 1
    ]


def suspect_full_users(
    user_ids: np.ndarray, train_count: np.ndarray, num_items: int
) -> List[str]:
    """Reports users who have interacted with all items.

    Args:
        user_ids (np.ndarray): The raw ids of the users.
        train_count (np.ndarray): Their numbers of training interactions.
        num_items (int): The number of items with training interactions.
    """
    full = np.flatnonzero(train_count == num_items)
    if len(full) == 0:
        return []
    return [
        f"{len(full)} user(s) with all {num_items} items of training, such as "
        f"'{user_ids[full[0]]}': leave them out to train with negatives"
    ]


def suspect_features(
    modality: str, item_ids: np.ndarray, matrix: np.ndarray, norm: np.ndarray
) -> List[str]:
    """Reports features that hardly distinguish items.

    Args:
        modality (str): The name of the modality.
        item_ids (np.ndarray): The items that have it.
        matrix (np.ndarray): Their features, one row per item.
        norm (np.ndarray): The norms of these rows.
    """
    num_items, num_features = matrix.shape
    out: List[str] = []
    if num_items == 1:
        return out
    if num_features < FEW_COLUMNS:
        out.append(
            f"modality '{modality}': only {num_features} column(s) (fewer than "
            f"{FEW_COLUMNS}); of rows, which are standardized, "
            f"{'nothing' if num_features == 1 else 'a sign'} is left"
        )
    flat = np.flatnonzero(matrix.min(axis=1) == matrix.max(axis=1))
    if len(flat) > 0 and num_features > 1:
        out.append(
            f"modality '{modality}': {len(flat)} of {num_items} items have the "
            f"same number in all columns, such as '{item_ids[flat[0]]}'; of "
            f"such rows, standardized, nothing is left"
        )
    constant = np.flatnonzero(matrix.min(axis=0) == matrix.max(axis=0))
    if len(constant) > 0:
        out.append(
            f"modality '{modality}': {len(constant)} of {num_features} "
            f"features are constant, such as feature {constant[0]}"
        )

    rows = matrix.view(f"V{matrix.itemsize * num_features}").reshape(-1)
    _, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(times[place] > 1)
    if len(shared) > 0:
        first, second = np.flatnonzero(place == place[shared[0]])[:2]
        out.append(
            f"modality '{modality}': {len(shared)} of {num_items} items have "
            f"the features of another, such as '{item_ids[first]}' and "
            f"'{item_ids[second]}'"
        )

    # The squared norm of a sum of unit vectors is the sum of all cosines.
    total = np.einsum("i,ij->j", 1 / norm, matrix, dtype=np.float64)
    cosine = (total @ total - num_items) / (num_items * (num_items - 1))
    if cosine > LARGE_COSINE:
        out.append(
            f"modality '{modality}': the mean cosine of two items is "
            f"{cosine:.3f}"
        )
    return out

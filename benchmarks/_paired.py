"""The paired test: one model against each of the others, user by user."""

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from _report import Row, table

METRICS = ("recall", "ndcg")  # Of every test user, at 20.
NUM_RESAMPLES = 10_000  # Each with as many users as there are.


def paired_bootstrap(difference: np.ndarray) -> List[Dict[str, float]]:
    """Tests whether mean differences are zero, by resampling users.

    Args:
        difference: The differences of every user, one column per comparison.

    Returns:
        For each column the mean, the ends of the 95 % interval as low and
        high, and the two-sided p: twice the share of resamples on the rarer
        side of zero, counting the sample itself as one.
    """
    rng = np.random.default_rng(0)
    num_users, num_columns = difference.shape
    means = np.empty((NUM_RESAMPLES, num_columns))
    for resample in means:
        drawn = rng.integers(0, num_users, num_users)
        count = np.bincount(drawn, minlength=num_users)
        resample[:] = count @ difference / num_users
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    rarer = np.minimum((means <= 0).sum(axis=0), (means >= 0).sum(axis=0))
    p = np.minimum(2 * (1 + rarer) / (1 + NUM_RESAMPLES), 1)
    columns = np.stack([difference.mean(axis=0), low, high, p], axis=1)
    names = ("mean", "low", "high", "p")
    return [dict(zip(names, c, strict=True)) for c in columns.tolist()]


def holm(p: List[float]) -> List[float]:
    """Corrects p-values for multiple comparisons by Holm's method."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min((len(p) - rank) * p[place], 1.0))
        corrected[place] = largest
    return corrected


def has_users(out: Path, row: Row) -> bool:
    """Returns whether all runs of a row have the metrics of every user."""
    folder = out / row["label"]
    return all((folder / f"seed_{n}.npz").exists() for n in row["seeds"])


def compare_all(out: Path, rows: List[Row], reference: str) -> Dict[str, Any]:
    """Compares the reference with every other row, if both have the metrics
    of every user.
    """
    by_label = {row["label"]: row for row in rows if has_users(out, row)}
    own = by_label.pop(reference, None)
    if own is None or len(by_label) == 0:
        return {}
    values = _read_users(out, own)
    columns = []
    for row in by_label.values():
        other = _read_users(out, row)
        columns += [values[key] - other[key] for key in METRICS]
    found = paired_bootstrap(np.stack(columns, axis=1))
    corrected = holm([result["p"] for result in found])
    results = iter(
        {**result, "p_holm": p}
        for result, p in zip(found, corrected, strict=True)
    )
    # Rows are sorted by validation, so that the best peer is the last one.
    peers = [row["label"] for row in rows if row["model"] != own["model"]]
    return {
        "reference": reference,
        "best_peer": peers[-1] if peers else None,
        "users": len(values["user"]),
        "resamples": NUM_RESAMPLES,
        "tests": {
            label: {key: next(results) for key in METRICS} for label in by_label
        },
    }


def _read_users(out: Path, row: Row) -> Dict[str, np.ndarray]:
    """Returns the metrics of every test user, averaged over the seeds."""
    runs = []
    for seed in row["seeds"]:
        path = out / row["label"] / f"seed_{seed}.npz"
        with np.load(path, allow_pickle=False) as file:
            runs.append({key: file[key] for key in ("user", *METRICS)})
    means = {k: np.mean([run[k] for run in runs], axis=0) for k in METRICS}
    return {"user": runs[0]["user"], **means}


def paired_lines(paired: Dict[str, Any]) -> List[str]:
    """Returns a section of Markdown, if anything was compared."""
    if len(paired) == 0:
        return []
    rows = []
    for label, test in paired["tests"].items():
        cells = [label]
        for found in test.values():
            ends = f"[{found['low']:+.4f}, {found['high']:+.4f}]"
            cells += [f"{found['mean']:+.4f} {ends}", f"{found['p_holm']:.4f}"]
        rows.append(cells)
    return [
        "",
        f"## {paired['reference']} against the others",
        "",
        f"Mean difference over {paired['users']:,} test users, each averaged "
        f"over the seeds, [95 % interval] and two-sided p of a paired "
        f"bootstrap over users ({paired['resamples']:,} resamples), corrected "
        f"by Holm's method for all {2 * len(rows)} comparisons of this table. "
        f"The best peer by validation is {paired['best_peer']}.",
        "",
        *table(["against", "Recall@20", "p", "NDCG@20", "p"], rows),
    ]


def missing_lines(out: Path, rows: List[Row], reference: str) -> List[str]:
    """Returns a line on the rows that cannot be compared, if any: all of them
    if the reference cannot.
    """
    labels = [row["label"] for row in rows if not has_users(out, row)]
    if reference in labels:
        labels = [f"any model, since {reference} has none"]
    if len(labels) == 0:
        return []
    shown = ", ".join(labels)
    return ["", f"Not tested, for lack of their seed_<n>.npz: {shown}."]

"""The tables, the chart and the paired test over the runs in a folder."""

import csv
import io
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Optional

import numpy as np
from _files import write_atomically, write_text

TEST = ["recall@10", "recall@20", "recall@50", "ndcg@10", "ndcg@20", "ndcg@50"]
PAIRED = ["recall", "ndcg"]  # Of every test user, at 20.
NUM_RESAMPLES = 10_000
BLOCK_COUNTS = 2**23  # Counts of drawn users that are held at once.
Run = Dict[str, Any]
Row = Dict[str, Any]


def write_report(out: Path, reference: str) -> None:
    """Writes what the runs in a folder amount to.

    Args:
        out: The folder.
        reference: The model that is compared with all others.
    """
    runs = read_runs(out)
    rows = [summarize(label, runs[label]) for label in runs]
    rows.sort(key=lambda row: row["val_recall@20"]["mean"])
    tests = compare_all(out, rows, reference)
    content = {"models": rows, "paired": tests}
    write_text(out / "results.json", json.dumps(content, indent=2) + "\n")
    write_text(out / "results.csv", to_csv(rows))
    write_text(out / "results.md", to_markdown(rows, tests))
    draw(out / "results.png", rows)


def read_runs(out: Path) -> Dict[str, List[Run]]:
    """Returns the finished runs of each model, and of each variant."""
    runs: Dict[str, List[Run]] = {}
    for path in sorted(out.glob("*/seed_*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault(path.parent.name, []).append(run)
    first = None
    for group in runs.values():
        group.sort(key=lambda run: run["seed"])
        first = first or group[0]
        for run in group:
            for key, one, other in (
                ("split", first, run),
                ("params", group[0], run),
                ("settings", group[0], run),
            ):
                if _conditions(one)[key] != _conditions(other)[key]:
                    raise ValueError(
                        f"{out}: the {key} of {one['label']}, seed "
                        f"{one['seed']}, and {other['label']}, seed "
                        f"{other['seed']}, can't be compared: "
                        f"{_conditions(one)[key]} and "
                        f"{_conditions(other)[key]}"
                    )
    return runs


def _conditions(run: Run) -> Dict[str, Any]:
    data = run["data"]
    split = {key: data[key] for key in ("name", "interactions_sha256")}
    return {**run, "split": split}


def over_seeds(values: List[float]) -> Dict[str, Optional[float]]:
    """Returns mean and standard deviation, of which one value has none."""
    std = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "std": std}


def summarize(label: str, runs: List[Run]) -> Row:
    """Returns mean and standard deviation over the seeds of one model."""
    row: Row = {"label": label, "model": runs[0]["model"]}
    row["seeds"] = [run["seed"] for run in runs]
    for key in TEST:
        row[f"test_{key}"] = over_seeds([run["test"][key] for run in runs])
    values = [run["val"]["recall@20"] for run in runs]
    row["val_recall@20"] = over_seeds(values)
    row["epochs"] = mean(run["epochs"] for run in runs)
    row["seconds"] = mean(run["seconds"] for run in runs)
    for key in ("params", "parameters", "search", "settings", "data"):
        row[key] = runs[0][key]
    for key in ("commit", "versions", "hardware", "command"):
        different = {json.dumps(run[key]): run[key] for run in runs}
        row[key] = list(different.values())
    return row


# The paired test


def paired_bootstrap(
    difference: np.ndarray, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> List[Dict[str, float]]:
    """Tests whether mean differences are zero, by drawing users anew.

    Args:
        difference: The differences of every user, a column a comparison.
        num_resamples: How often to draw as many users as there are.
        seed: The seed.

    Returns:
        For each column the mean, the ends of the 95 % interval as low and
        high, and the two-sided p: twice the share of resamples on the rarer
        side of zero, counting the sample itself as one.
    """
    rng = np.random.default_rng(seed)
    num_users, num_columns = difference.shape
    means = np.empty((num_resamples, num_columns))
    block_size = max(1, BLOCK_COUNTS // num_users)
    for start in range(0, num_resamples, block_size):
        block = means[start : start + block_size]
        drawn = rng.integers(0, num_users, (len(block), num_users))
        drawn += np.arange(len(block))[:, None] * num_users
        count = np.bincount(drawn.ravel(), minlength=drawn.size)
        block[:] = count.reshape(drawn.shape) @ difference / num_users
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    rarer = np.minimum((means <= 0).sum(axis=0), (means >= 0).sum(axis=0))
    p = np.minimum(2 * (1 + rarer) / (1 + num_resamples), 1)
    columns = zip(difference.mean(axis=0), low, high, p, strict=True)
    return [
        {
            "mean": float(average),
            "low": float(bottom),
            "high": float(top),
            "p": float(probability),
        }
        for average, bottom, top, probability in columns
    ]


def compare_all(
    out: Path, rows: List[Row], reference: str
) -> Optional[Dict[str, Any]]:
    """Compares the reference with every other row, user by user."""
    by_label = {row["label"]: row for row in rows}
    others = [row for row in rows if row["label"] != reference]
    if reference not in by_label or len(others) == 0:
        return None
    own = by_label[reference]
    values = read_users(out, own)
    columns = []
    for row in others:
        their = read_users(out, row)
        if not np.array_equal(values["user"], their["user"]):
            raise ValueError(
                f"{out}: {reference} and {row['label']} have other test users"
            )
        columns += [values[key] - their[key] for key in PAIRED]
    results = iter(paired_bootstrap(np.stack(columns, axis=1)))
    tests = [
        {"label": row["label"], **{key: next(results) for key in PAIRED}}
        for row in others
    ]
    # Rows are sorted by validation, so that the best peer is the last one.
    peers = [row["label"] for row in others if row["model"] != own["model"]]
    return {
        "reference": reference,
        "best_peer": peers[-1] if peers else None,
        "users": len(values["user"]),
        "resamples": NUM_RESAMPLES,
        "tests": tests,
    }


def read_users(out: Path, row: Row) -> Dict[str, np.ndarray]:
    """Returns the metrics of every test user, averaged over the seeds."""
    folder = out / row["label"]
    runs = []
    for seed in row["seeds"]:
        with np.load(folder / f"seed_{seed}.npz", allow_pickle=False) as file:
            runs.append({key: file[key] for key in ("user", *PAIRED)})
    return {
        "user": runs[0]["user"],
        **{key: np.mean([run[key] for run in runs], axis=0) for key in PAIRED},
    }


# Tables and chart


def to_csv(rows: List[Row]) -> str:
    """Returns a line for each model."""
    file = io.StringIO()
    metrics = ["val_recall@20", *(f"test_{key}" for key in TEST)]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["label", "model", "seeds"]
        + [f"{key}_{what}" for key in metrics for what in ("mean", "std")]
        + ["epochs", "seconds", "parameters", "params", "commit"]
    )
    for row in rows:
        writer.writerow(
            [row["label"], row["model"], len(row["seeds"])]
            + [row[key][what] for key in metrics for what in ("mean", "std")]
            + [row["epochs"], row["seconds"], row["parameters"]]
            + [json.dumps(row["params"]), " ".join(row["commit"])]
        )
    return file.getvalue()


def to_markdown(rows: List[Row], tests: Optional[Dict[str, Any]]) -> str:
    """Returns everything that a reader of the table has to know."""
    if len(rows) == 0:
        return "# Accuracy\n\nNo run is finished.\n"
    data = rows[0]["data"]
    lines = [
        f"# Accuracy on {data['name']}",
        "",
        f"{data['users']:,} users, {data['items']:,} items, {data['train']:,} "
        f"/ {data['val']:,} / {data['test']:,} interactions for training / "
        f"validation / test. Full ranking over all items, training items "
        f"excluded; mean ± standard deviation over seeds.",
        "",
    ]
    titles = ["validation R@20"]
    titles += [f"test {key[0].upper()}@{key.split('@')[1]}" for key in TEST]
    head = ["model", "seeds", *titles, "epochs", "s a run", "parameters"]
    metrics = ["val_recall@20", *(f"test_{key}" for key in TEST)]
    lines += table(
        head,
        [
            [row["label"], str(len(row["seeds"]))]
            + [mean_std(row[key]) for key in metrics]
            + [f"{row['epochs']:.0f}", f"{row['seconds']:.0f}"]
            + [f"{row['parameters']:,}"]
            for row in rows
        ],
    )
    lines += _paired_lines(tests)
    lines += ["", "## Searched", ""]
    lines += table(
        ["model", "trials (pruned)", "choices", "taken or fixed"],
        [
            [
                row["label"],
                f"{row['search']['finished'] + row['search']['pruned']} "
                f"({row['search']['pruned']})",
                show(row["search"]["space"]),
                show(row["params"]),
            ]
            for row in rows
        ],
    )
    lines += [
        "",
        "Choices were made by Recall@20 on validation, with one seed a trial, "
        "the model's defaults first. The test split was read once in each "
        "run, with the weights of its best epoch on validation.",
        "",
        "## Fixed",
        "",
        "Everything else is a default of the model, and:",
        "",
    ]
    lines += table(
        ["model", "settings", "modalities"],
        [
            [row["label"], show(row["settings"]), show(_modalities(row))]
            for row in rows
        ],
    )
    lines += ["", "## How it was made", ""]
    for key in ("commit", "versions", "hardware", "command"):
        values: Dict[str, List[str]] = {}
        for row in rows:
            for value in row[key]:
                text = value if isinstance(value, str) else show(value)
                values.setdefault(text, []).append(row["label"])
        for text, labels in values.items():
            lines.append(f"- {key} ({', '.join(labels)}): `{text}`")
    return "\n".join(lines) + "\n"


def _paired_lines(tests: Optional[Dict[str, Any]]) -> List[str]:
    if tests is None:
        return []
    lines = [
        "",
        f"## {tests['reference']} against the others",
        "",
        f"Differences of Recall@20 and NDCG@20 over {tests['users']:,} test "
        f"users, each averaged over the seeds: mean [95 % interval] and "
        f"two-sided p of a paired bootstrap over users "
        f"({tests['resamples']:,} resamples; p is not corrected for the "
        f"number of comparisons). The best peer by validation is "
        f"{tests['best_peer']}.",
        "",
    ]
    rows = []
    for test in tests["tests"]:
        cells = [test["label"]]
        for key in PAIRED:
            found = test[key]
            cells.append(
                f"{found['mean']:+.4f} [{found['low']:+.4f}, "
                f"{found['high']:+.4f}]"
            )
            cells.append(f"{found['p']:.4f}")
        rows.append(cells)
    return lines + table(["against", "Recall@20", "p", "NDCG@20", "p"], rows)


def _modalities(row: Row) -> Dict[str, int]:
    return dict(row["data"]["modalities"])


def table(head: List[str], rows: List[List[str]]) -> List[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def mean_std(value: Dict[str, Optional[float]]) -> str:
    if value["std"] is None:
        return f"{value['mean']:.4f}"
    return f"{value['mean']:.4f} ± {value['std']:.4f}"


def show(values: Dict[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return "; ".join(f"{key}: {text(value)}" for key, value in values.items())


def draw(path: Path, rows: List[Row]) -> None:
    """Draws Recall@20 and NDCG@20 on test as bars."""
    try:
        import matplotlib
    except ImportError:
        print('For a chart, pip install "tmfun-pyg[plot]"')
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (9, 1.5 + 0.35 * len(rows))
    fig, axes = plt.subplots(1, 2, sharey=True, figsize=size)
    for ax, title in zip(axes, ("Recall@20", "NDCG@20"), strict=True):
        values = [row[f"test_{title.lower()}"] for row in rows]
        ax.barh(
            [row["label"] for row in rows],
            [value["mean"] for value in values],
            xerr=[value["std"] or 0.0 for value in values],
            capsize=3,
        )
        ax.set_xlabel(f"test {title}")
    fig.tight_layout()
    write_atomically(
        path, lambda file: fig.savefig(file, dpi=150, format="png")
    )
    plt.close(fig)

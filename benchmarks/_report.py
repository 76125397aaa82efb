"""Reports on the runs in a folder, as Markdown and JSON files."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Optional, Tuple

from _runs import write_json

from tmfun_pyg.utils.files import atomic_write

Row = Dict[str, Any]
# The split and the metric of a run by title:
Metrics = Dict[str, Tuple[str, str]]
# The conditions of a table, of each run or of the first one of a model:
ALL = ("commit", "versions", "hardware", "command")
FIRST = ("search", "params", "settings", "modalities")


def read_rows(out: Path, metrics: Metrics) -> List[Row]:
    """Returns mean and standard deviation over the seeds of each model.

    Raises:
        ValueError: If there is none, or if runs have different splits.
    """
    runs: Dict[str, List[Row]] = {}
    splits: Dict[str, str] = {}
    for path in sorted(out.glob("*/seed_*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault(path.parent.name, []).append(run)
        splits.setdefault(run["data"]["interactions_sha256"], str(path))
    if len(splits) != 1:
        found = list(splits.values())
        raise ValueError(f"{out} must hold runs of one split (got {found})")
    return [_summarize(label, runs[label], metrics) for label in runs]


def _summarize(label: str, runs: List[Row], metrics: Metrics) -> Row:
    runs = sorted(runs, key=lambda run: run["seed"])
    first = {**runs[0], "modalities": runs[0]["data"]["modalities"]}
    row: Row = {"label": label, "seeds": [run["seed"] for run in runs]}
    row["metrics"] = {
        title: over_seeds([run[split][metric] for run in runs])
        for title, (split, metric) in metrics.items()
    }
    row["epochs"] = mean(run["epochs"] for run in runs)
    # Seconds on a CPU and on a GPU are not averaged:
    is_on_gpu = "gpu" in runs[0]["hardware"]
    timed = [run for run in runs if ("gpu" in run["hardware"]) == is_on_gpu]
    row["seconds"] = mean(run["seconds"] for run in timed)
    row["to_best"] = mean(_seconds_to_best(run) for run in timed)
    for key in ("model", "data", "parameters", *FIRST):
        row[key] = first[key]
    row["places"] = list(dict.fromkeys(map(_place, runs)))
    for key in ALL:
        values = {json.dumps(run[key]): run[key] for run in runs}
        row[key] = list(values.values())
    return row


def _place(run: Row) -> str:
    return f"{run['commit'][:7]}{' (GPU)' if 'gpu' in run['hardware'] else ''}"


def _seconds_to_best(run: Row) -> float:
    """Returns the seconds of a run times the share of its epochs up to the
    best one, or those of a closed-form fit.
    """
    share = (run["best_epoch"] + 1) / run["epochs"] if run["epochs"] else 1
    return run["seconds"] * share


def over_seeds(values: List[float]) -> Dict[str, Optional[float]]:
    """Returns mean and standard deviation, which one value does not have."""
    std = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "std": std}


def write_report(
    path: Path, lines: List[str], rows: List[Row], **content: Any
) -> None:
    """Writes and prints the lines and the sources of the rows, and writes a
    file of these and further content.
    """
    lines = [*lines, "", "## How it was made", ""]
    for key in (*FIRST, *ALL):
        # One line per distinct value, with its models:
        values: Dict[str, List[str]] = {}
        for row in rows:
            for value in row[key] if key in ALL else [row[key]]:
                text = value if isinstance(value, str) else show(value)
                values.setdefault(text or "none", []).append(row["label"])
        for text, labels in values.items():
            lines.append(f"- {key} ({', '.join(labels)}): `{text}`")
    write_both(path, lines, {"models": rows, **content})


def write_both(path: Path, lines: List[str], content: Dict[str, Any]) -> None:
    """Writes and prints the lines, and writes the content next to them."""
    text = "\n".join([*lines, ""])
    with atomic_write(path.with_suffix(".md")) as part:
        part.write_text(text, encoding="utf-8")
    write_json(path.with_suffix(".json"), content)
    print(text)


def model_table(rows: List[Row]) -> List[str]:
    """Returns the lines of a table of all models."""
    head = ["model", "seeds", *rows[0]["metrics"], "epochs", "s a run"]
    body = [
        [row["label"], str(len(row["seeds"]))]
        + [mean_std(value) for value in row["metrics"].values()]
        + [f"{row['epochs']:.0f}", f"{row['seconds']:.0f}"]
        + [f"{row['parameters']:,}"]
        for row in rows
    ]
    return table([*head, "parameters"], body)


def mean_std(value: Dict[str, Optional[float]]) -> str:
    """Returns a cell of a table."""
    if value["std"] is None:
        return f"{value['mean']:.4f}"
    return f"{value['mean']:.4f} ± {value['std']:.4f}"


def table(head: List[str], rows: List[List[str]]) -> List[str]:
    """Returns the lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def show(values: Dict[str, Any]) -> str:
    """Returns a dictionary as readable text."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return "; ".join(f"{key}: {text(value)}" for key, value in values.items())

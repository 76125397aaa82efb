"""The figures and tables of each section."""

import math
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import numpy as np
from markupsafe import Markup

from tmfun_pyg.report import figures
from tmfun_pyg.report.analysis import (
    Accuracy,
    Analysis,
    ModalityWeights,
    choose_items,
)
from tmfun_pyg.report.bins import Binned, quantile_bins
from tmfun_pyg.report.figures import POPULAR
from tmfun_pyg.report.page import Page, Table
from tmfun_pyg.report.runs import SPLITS, Metrics, Runs
from tmfun_pyg.report.text import shorten

NAMES = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision": "Precision",
    "map": "MAP",
}
PLOTTED = ["recall@20", "ndcg@20"]
DASH = "\N{EN DASH}"

Results = Dict[str, List[Metrics]]  # By model, one entry for each seed.


def title_of(metric: str) -> str:
    r"""Returns a metric's name as it is written, such as :obj:`"NDCG@20"`."""
    name, _, k = metric.partition("@")
    return f"{NAMES.get(name, name)}@{k}"


def metrics_of(runs: Iterable[Metrics]) -> List[str]:
    r"""Returns the names of all metrics, first those that are drawn."""

    def order(metric: str) -> Tuple[bool, int, int, str]:
        name = metric.partition("@")[0]
        place = [*NAMES, name].index(name)
        return metric not in PLOTTED, place, len(metric), metric

    return sorted({name for run in runs for name in run}, key=order)


def models_table(runs: Runs, analyses: Dict[str, Analysis]) -> Table:
    r"""Returns what was trained."""
    rows = []
    for name, analysis in analyses.items():
        of_name = runs.models[name]
        seeds = [str(run.seed) for run in of_name if run.seed is not None]
        checkpoint = of_name[0].checkpoint.relative_to(runs.root).as_posix()
        weights = f"{analysis.num_parameters:,}"
        text = [name, analysis.kind, ", ".join(seeds) or DASH, checkpoint]
        rows.append([*text, weights])
    return Table(["run", "model", "seeds", "checkpoint", "weights"], rows)


def learning_curves(page: Page, runs: Runs, popular: Metrics) -> Any:
    r"""Returns validation metrics and losses by epoch.

    Args:
        page (Page): The page.
        runs (Runs): The runs.
        popular (Dict[str, float]): The metrics of most-popular, drawn as a
            level.
    """
    every = [run for of_name in runs.models.values() for run in of_name]
    metrics = metrics_of(run.metrics("val") for run in every)[: len(PLOTTED)]
    validation = []
    for metric in metrics:
        column, title = f"val_{metric}", title_of(metric)
        lines = {
            name: [(run.curves.get(column, {}), run.best_epoch) for run in r]
            for name, r in runs.models.items()
        }
        levels = {POPULAR: popular[metric]} if metric in popular else {}
        validation.append(
            page.draw(
                f"Validation {title}", figures.curves, title, lines, levels
            )
        )
    losses = []
    for name, of_name in runs.models.items():
        names = {c for r in of_name for c in r.curves if c.startswith("train")}
        lines = {
            column.removeprefix("train_").replace("_", " "): [
                (run.curves.get(column, {}), run.best_epoch) for run in of_name
            ]
            for column in sorted(names, key=lambda c: (c != "train_loss", c))
        }
        if len(lines) > 0:
            title = f"{shorten(name)}: losses"
            losses.append(page.draw(title, figures.curves, "loss", lines))
    rows, notes = [], []
    for run in every:
        best = DASH if run.best_epoch is None else str(run.best_epoch)
        values = [run.metrics("val").get(m, math.nan) for m in metrics]
        numbers = [number(value) for value in values]
        rows.append([run.label, str(run.last_epoch), best, *numbers])
        for column, curve in run.curves.items():
            bad = [e for e in curve if not math.isfinite(curve[e])]
            if len(bad) > 0:
                notes.append(
                    f"{run.label}: {column} is not finite in {len(bad)} of "
                    f"{len(curve)} epochs, first in epoch {bad[0]}."
                )
    header = ["run", "last epoch", "best epoch", *map(title_of, metrics)]
    return {
        "validation": validation,
        "losses": losses,
        "table": Table(header, rows),
        "notes": notes,
    }


def number(value: float, error: float = math.nan) -> str:
    r"""Returns a value as text, with its error unless that is NaN."""
    text = DASH if math.isnan(value) else f"{value:.4f}"
    return text if math.isnan(error) else f"{text} ± {error:.4f}"


def metrics(page: Page, results: Dict[str, Results], split: str) -> Any:
    r"""Returns metrics as bars and tables.

    Args:
        page (Page): The page.
        results (Dict[str, Dict[str, List[Dict[str, float]]]]): The metrics by
            split, model and seed.
        split (str): The split that is drawn.
    """
    names = {
        known: metrics_of(run for runs in of_split.values() for run in runs)
        for known, of_split in results.items()
    }
    pictures = []
    for metric in names[split][: len(PLOTTED)]:
        values = {
            name: [run.get(metric, math.nan) for run in runs]
            for name, runs in results[split].items()
        }
        title = title_of(metric)
        pictures.append(
            page.draw(
                f"{title}, {SPLITS[split]} split", figures.bars, title, values
            )
        )
    return {
        "figures": pictures,
        "tables": {
            known: _metric_table(of_split, names[known])
            for known, of_split in results.items()
        },
    }


def _metric_table(results: Results, metrics: List[str]) -> Table:
    rows = [[name, str(len(runs))] for name, runs in results.items()]
    for metric in metrics:
        values = [
            [run.get(metric, math.nan) for run in runs]
            for runs in results.values()
        ]
        means = [float(np.mean(seeds)) for seeds in values]
        best = np.nanmax([*means, -math.inf])
        for row, seeds, average in zip(rows, values, means, strict=True):
            error = np.std(seeds, ddof=1) if len(seeds) > 1 else math.nan
            text = number(average, float(error))
            is_best = average == best and len(rows) > 1
            row.append(Markup("<b>%s</b>") % text if is_best else text)
    return Table(["model", "runs", *map(title_of, metrics)], rows)


def modality_weights(
    page: Page,
    name: str,
    weights: ModalityWeights,
    item_ids: np.ndarray,
    wanted: Sequence[int],
) -> Any:
    r"""Returns the attention weights of a model.

    Args:
        page (Page): The page.
        name (str): The name of the model.
        weights (ModalityWeights): Its weights.
        item_ids (np.ndarray): The raw ids of all items.
        wanted (Sequence[int]): The items to be shown one by one.
    """
    names, count = weights.modalities, weights.popularity
    short, label = shorten(name), "attention weight"
    pictures = {}
    if weights.is_complete.any():
        complete = weights.weight[weights.is_complete]
        pictures["histogram"] = page.draw(
            f"{short}: weights over items",
            figures.histogram,
            *(label, "share of items"),
            dict(zip(names, complete.T, strict=True)),
        )
        pictures["medians and quartiles"] = page.draw(
            f"{short}: weights by popularity",
            figures.errorbars,
            *(label, "item", "items"),
            weights.by_popularity(),
        )
    why, items = zip(*choose_items(count, wanted), strict=True)
    ids = [str(item_ids[item]) for item in items]
    chosen = weights.weight[list(items)]
    pictures["stacked bars"] = page.draw(
        f"{short}: weights of single items",
        figures.stacked,
        *(label, ids, why),
        dict(zip(names, chosen.T, strict=True)),
    )
    rows = [
        [ids[i], why[i], f"{count[item]:,}", *(f"{w:.3f}" for w in chosen[i])]
        for i, item in enumerate(items)
    ]
    header = ["item", "chosen as", "training interactions", *names]
    return {
        "figures": pictures,
        "table": Table(header, rows),
        "num_complete": int(weights.is_complete.sum()),
        "num_items": len(count),
        "kinds": list(dict.fromkeys(why)),
    }


def activity(page: Page, accuracies: Dict[str, Accuracy]) -> Any:
    r"""Returns the accuracy of users by their training interactions."""
    pictures, columns = [], {}
    for metric in ("recall", "ndcg"):
        title = f"{NAMES[metric]}@20"
        series = {n: acc.activity[metric] for n, acc in accuracies.items()}
        args = figures.errorbars, title, "user", "users", series
        pictures.append(page.draw(f"{title} by user activity", *args))
        columns.update({f"{n} {title}": one for n, one in series.items()})
    return {"figures": pictures, "table": _binned_table("users", columns)}


def popularity(page: Page, accuracies: Dict[str, Accuracy]) -> Any:
    r"""Returns the recall of held-out interactions by the training
    interactions of the item.
    """
    series = {name: acc.popularity for name, acc in accuracies.items()}
    title, label = "Recall by item popularity", "share found in the first 20"
    args = figures.errorbars, label, "item", "held-out interactions", series
    first = series[POPULAR]
    return {
        "figure": page.draw(title, *args),
        "table": _binned_table("held-out interactions", series),
        "num_cold": int(first.size[0]) if first.bins.high[0] == 0 else 0,
    }


def _binned_table(unit: str, series: Dict[str, Binned]) -> Table:
    first = next(iter(series.values()))
    rows = []
    for place, label in enumerate(first.bins.labels):
        row = [label, f"{first.size[place]:,}"]
        row += [number(b.mean[place], b.error[place]) for b in series.values()]
        rows.append(row)
    return Table(["training interactions", unit, *series], rows)


def projection(
    page: Page, analyses: Dict[str, Analysis], popularity: np.ndarray
) -> Any:
    r"""Returns the item embeddings in the plane.

    Args:
        page (Page): The page.
        analyses (Dict[str, Analysis]): What the models show of themselves.
        popularity (np.ndarray): The training interactions of each item.
    """
    bins = quantile_bins(popularity)
    place = bins.place(popularity)
    pictures = []
    num_shown = len(popularity)
    for name, analysis in analyses.items():
        if analysis.projection is None:
            continue
        item, xy, share = analysis.projection
        num_shown = len(item)
        points = {
            label: xy[place[item] == b] for b, label in enumerate(bins.labels)
        }
        first, second = (f"component ({s:.0%} of variance)" for s in share)
        args = figures.scatter, f"1st {first}", f"2nd {second}", points
        title = f"{shorten(name)}: item embeddings"
        pictures.append(page.draw(title, *args))
    return {
        "figures": pictures,
        "num_items": len(popularity),
        "num_shown": num_shown,
    }

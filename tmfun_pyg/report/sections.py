"""The figures and numbers of each section."""

import math
from typing import Any, Dict, Iterable, List, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from tmfun_pyg.evaluation.list_metrics import LIST_METRICS
from tmfun_pyg.report import figures
from tmfun_pyg.report.analysis import (
    Accuracy,
    Analysis,
    K,
    ModalityWeights,
    choose_items,
)
from tmfun_pyg.report.bins import quantile_bins
from tmfun_pyg.report.figures import POPULAR
from tmfun_pyg.report.page import Page
from tmfun_pyg.report.runs import SPLITS, Metrics, Runs
from tmfun_pyg.report.text import number, picture_link, shorten, title_of

PLOTTED = ["recall@20", "ndcg@20"]

Results = Dict[str, List[Metrics]]  # By model, one entry for each seed.


def metrics_of(runs: Iterable[Metrics]) -> List[str]:
    r"""Returns the names of all accuracy metrics, plotted ones first."""

    def order(metric: str) -> Any:
        place = [*PLOTTED, metric].index(metric)
        return place, metric.partition("@")[0], len(metric), metric

    names = {name for run in runs for name in run}
    of_lists = {n for n in names if n.partition("@")[0] in LIST_METRICS}
    return sorted(names - of_lists, key=order)


def learning_curves(page: Page, runs: Runs, popular: Metrics) -> Any:
    r"""Returns validation metrics and losses by epoch.

    Args:
        page (Page): The page.
        runs (Runs): The runs.
        popular (Dict[str, float]): The metrics of most-popular, drawn as
            horizontal lines.
    """

    def lines(column: str) -> Any:
        return {
            name: [run.line(column) for run in of_name]
            for name, of_name in runs.models.items()
        }

    every = [run for of_name in runs.models.values() for run in of_name]
    metrics = metrics_of(run.metrics("val") for run in every)[: len(PLOTTED)]
    validation, losses = [], []
    for metric in metrics:
        title = title_of(metric)
        levels = {POPULAR: popular[metric]} if metric in popular else {}
        args = figures.curves, title, lines(f"val_{metric}"), levels
        validation.append(page.draw(f"Validation {title}", *args))
    for name, of_name in runs.models.items():
        names = {c for r in of_name for c in r.curves if c.startswith("train")}
        parts = {
            column.removeprefix("train_").replace("_", " "): lines(column)[name]
            for column in sorted(names, key=lambda c: (c != "train_loss", c))
        }
        if len(parts) > 0:
            title = f"{shorten(name)}: losses"
            losses.append(page.draw(title, figures.curves, "loss", parts))
    return {"validation": validation, "losses": losses, "metrics": metrics}


def metrics(page: Page, results: Dict[str, Results], split: str) -> Any:
    r"""Returns metrics as bars and tables.

    Args:
        page (Page): The page.
        results (Dict[str, Dict[str, List[Dict[str, float]]]]): The metrics by
            split, model and seed.
        split (str): The split to draw.
    """
    pictures, tables = [], {}
    for known, of_split in results.items():
        names = metrics_of(run for runs in of_split.values() for run in runs)
        rows = [[name, str(len(runs))] for name, runs in of_split.items()]
        for metric in names:
            values = {
                name: [run.get(metric, math.nan) for run in runs]
                for name, runs in of_split.items()
            }
            for row, cell in zip(rows, _cells(values), strict=True):
                row.append(cell)
            if known == split and metric in names[: len(PLOTTED)]:
                label = title_of(metric)
                title = f"{label}, {SPLITS[split]} split"
                pictures.append(page.draw(title, figures.bars, label, values))
        header = ["model", "runs", *map(title_of, names)]
        tables[known] = {"header": header, "rows": rows}
    return {"figures": pictures, "tables": tables}


def _cells(values: Dict[str, List[float]]) -> List[str]:
    """Returns means and standard deviations, the best of several in bold."""
    means = [float(np.mean(seeds)) for seeds in values.values()]
    best = np.nanmax([*means, -math.inf]) if len(means) > 1 else None
    cells = []
    for mean, seeds in zip(means, values.values(), strict=True):
        error = np.std(seeds, ddof=1) if len(seeds) > 1 else math.nan
        text = number(mean, float(error))
        cells.append(Markup("<b>%s</b>") % text if mean == best else text)
    return cells


def lists(accuracies: Dict[str, Accuracy]) -> Any:
    r"""Returns the beyond-accuracy metrics of models as a table."""
    names = [f"{name}@{K}" for name in LIST_METRICS]
    rows = [
        [name, *(number(accuracy.metrics.get(metric)) for metric in names)]
        for name, accuracy in accuracies.items()
    ]
    return {"header": ["model", *map(title_of, names)], "rows": rows}


def modality_weights(
    page: Page,
    name: str,
    weights: ModalityWeights,
    item_ids: np.ndarray,
    item_table: pd.DataFrame,
    wanted: Sequence[int],
) -> Any:
    r"""Returns the attention weights of a model.

    Args:
        page (Page): The page.
        name (str): The name of the model.
        weights (ModalityWeights): Its weights.
        item_ids (np.ndarray): The raw ids of all items.
        item_table (pandas.DataFrame): Their titles and pictures.
        wanted (Sequence[int]): The items to show individually.
    """

    def draw(title: str, plot: Any, *args: Any) -> Any:
        title = f"{shorten(name)}: weights {title}"
        return page.draw(title, plot, "attention weight", *args)

    def by_modality(weight: np.ndarray) -> Dict[str, np.ndarray]:
        return dict(zip(weights.modalities, weight.T, strict=True))

    pictures = {}
    if weights.is_complete.any():
        complete = by_modality(weights.weight[weights.is_complete])
        pictures["histogram"] = draw(
            "over items", figures.histogram, "share of items", complete
        )
        bins = weights.by_popularity()
        pictures["medians and quartiles"] = draw(
            "by popularity", figures.errorbars, "item", "items", bins
        )
    why, items = zip(*choose_items(weights.popularity, wanted), strict=True)
    ids = [str(item_ids[item]) for item in items]
    chosen = weights.weight[list(items)]
    pictures["stacked bars"] = draw(
        "of single items", figures.stacked, ids, why, by_modality(chosen)
    )
    counts = weights.popularity[list(items)]
    names: Dict[str, Any] = {}
    if "title" in item_table:
        names["title"] = item_table["title"].iloc[list(items)]
    if "image_url" in item_table:
        urls = item_table["image_url"].iloc[list(items)]
        names["picture"] = [picture_link(url) for url in urls]
    cells = zip(*names.values(), strict=True) if names else [()] * len(ids)
    rows = list(zip(ids, cells, why, counts, chosen, strict=True))
    return {"figures": pictures, "names": list(names), "rows": rows}


def activity(page: Page, accuracies: Dict[str, Accuracy]) -> Any:
    r"""Returns the accuracy by the users' number of training interactions."""
    pictures, columns = [], {}
    for metric in ("recall", "ndcg"):
        title = title_of(f"{metric}@20")
        series = {n: acc.activity[metric] for n, acc in accuracies.items()}
        args = figures.errorbars, title, "user", "users", series
        pictures.append(page.draw(f"{title} by user activity", *args))
        columns.update({f"{n} {title}": one for n, one in series.items()})
    return {"figures": pictures, "series": columns}


def popularity(page: Page, accuracies: Dict[str, Accuracy]) -> Any:
    r"""Returns the recall of held-out interactions by the number of training
    interactions of the item.
    """
    series = {name: acc.popularity for name, acc in accuracies.items()}
    title, label = "Recall by item popularity", "share found in the first 20"
    args = figures.errorbars, label, "item", "held-out interactions", series
    return {"figures": [page.draw(title, *args)], "series": series}


def projection(
    page: Page, analyses: Dict[str, Analysis], popularity: np.ndarray
) -> Any:
    r"""Returns the item embeddings in 2D.

    Args:
        page (Page): The page.
        analyses (Dict[str, Analysis]): The analyses of the models.
        popularity (np.ndarray): The number of training interactions of each
            item.
    """
    bins = quantile_bins(popularity)
    place, pictures = bins.place(popularity), []
    for name, analysis in analyses.items():
        if analysis.projection is None:
            continue
        item, xy, share = analysis.projection
        points = {
            label: xy[place[item] == b] for b, label in enumerate(bins.labels)
        }
        first, second = (f"component ({s:.0%} of variance)" for s in share)
        args = figures.scatter, f"1st {first}", f"2nd {second}", points
        title = f"{shorten(name)}: item embeddings"
        pictures.append(page.draw(title, *args))
    return pictures

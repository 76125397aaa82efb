"""The sections of the page."""

import math
from statistics import mean, stdev
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from tmfun_pyg.report import _draw
from tmfun_pyg.report._accuracy import Binned
from tmfun_pyg.report._analysis import Accuracy, Analysis, Facts
from tmfun_pyg.report._bins import quantile_bins
from tmfun_pyg.report._modality_weights import choose_items
from tmfun_pyg.report._page import (
    Cell,
    Page,
    details,
    heading,
    paragraph,
    side_by_side,
    table,
)
from tmfun_pyg.report._runs import Metrics, Run, Runs
from tmfun_pyg.report._text import clean, shorten

POPULAR = "most-popular"
SPLITS = {"val": "validation", "test": "test"}
NAMES = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision": "Precision",
    "map": "MAP",
}
# What stands out among the metrics, as far as it is there.
MAIN = ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]
PLOTTED = ["recall@20", "ndcg@20"]
DASH = "\N{EN DASH}"

Results = Dict[str, List[Metrics]]  # By model, one entry for each seed.


def title_of(metric: str) -> str:
    r"""Returns a metric's name as it is written, such as :obj:`"NDCG@20"`."""
    name, _, k = metric.partition("@")
    return f"{NAMES.get(name, name)}@{k}"


def _order(metric: str) -> Tuple[int, int, str]:
    name, _, k = metric.partition("@")
    place = list(NAMES).index(name) if name in NAMES else len(NAMES)
    return place, int(k) if k.isdecimal() else 0, metric


def _metrics_of(results: Results) -> List[str]:
    names = {name for runs in results.values() for run in runs for name in run}
    return sorted((name for name in names if "@" in name), key=_order)


def _chosen(metrics: List[str], wanted: List[str]) -> List[str]:
    """Returns the wanted ones that are there, or as many others."""
    there = [name for name in wanted if name in metrics]
    return there or metrics[: len(wanted)]


def add_summary(
    page: Page, runs: Runs, analyses: Dict[str, Analysis], facts: Facts
) -> None:
    r"""Adds what was trained, on what and how."""
    rows = []
    for name, analysis in analyses.items():
        of_name = runs.models[name]
        seeds = [str(run.seed) for run in of_name if run.seed is not None]
        rows.append(
            [
                Cell(name),
                Cell(analysis.kind),
                Cell(", ".join(seeds) or DASH),
                Cell(of_name[0].checkpoint.relative_to(runs.root).as_posix()),
                Cell(f"{analysis.num_parameters:,}"),
            ]
        )
    models = table(
        ["run", "model", "seeds", "checkpoint", "weights"],
        rows,
        "The models. What is computed from a trained model is from this "
        "checkpoint, that of the lowest seed.",
        num_text=4,
    )
    rows = [[Cell(key), Cell(value)] for key, value in facts.sizes.items()]
    sizes = table(["data set", facts.name], rows, "The data set.", num_text=2)
    folded = []
    if len(runs.versions) > 0:
        rows = [[Cell(k), Cell(v)] for k, v in runs.versions.items()]
        folded.append(
            details(
                "Versions of the training",
                table(
                    ["package", "version"],
                    rows,
                    "As written down.",
                    num_text=2,
                ),
            )
        )
    for source, options in runs.options.items():
        rows = [[Cell(key), Cell(value)] for key, value in options.items()]
        folded.append(
            details(
                f"Options of {source}",
                table(
                    ["option", "value"], rows, "As written down.", num_text=2
                ),
            )
        )
    if len(runs.options) == 0:
        folded.append(
            paragraph(
                "The options of the training are not shown: there is no "
                "config.yaml beside metrics.csv."
            )
        )
    page.section("summary", "Summary", [models, sizes, *folded])


def add_learning_curves(
    page: Page, split: str, runs: Runs, facts: Facts
) -> None:
    r"""Adds losses and validation metrics by epoch."""
    every_run = [run for of_name in runs.models.values() for run in of_name]
    results = {
        name: [run.validation for run in of_name]
        for name, of_name in runs.models.items()
    }
    figures = []
    for metric in _chosen(_metrics_of(results), PLOTTED):
        column = f"val_{metric}"
        lines, marks = {}, []
        reference = None
        if split == "val" and metric in facts.metrics:
            reference = (POPULAR, facts.metrics[metric])
        for place, (name, of_name) in enumerate(runs.models.items()):
            curves = [run.curves.get(column, {}) for run in of_name]
            lines[name] = [curve for curve in curves if curve]
            for run, curve in zip(of_name, curves, strict=True):
                if run.best_epoch in curve:
                    epoch = run.best_epoch
                    marks.append((place, epoch, curve[epoch]))
        figures.append(
            page.figure(
                f"validation-{metric}",
                f"Line chart of validation {title_of(metric)} by epoch for "
                f"{_listed(list(lines))}.",
                "Higher is better. A line is a seed; the marker is its best "
                "epoch, which is the one by validation Recall@20.",
                _draw.curves,
                f"Validation {title_of(metric)}",
                title_of(metric),
                lines,
                marks,
                reference,
            )
        )
    for name, of_name in runs.models.items():
        figures.extend(_losses(page, name, of_name))

    rows = [
        [
            Cell(run.label),
            Cell(str(run.last_epoch)),
            Cell(DASH if run.best_epoch is None else str(run.best_epoch)),
            *(
                Cell(_show(run.validation.get(metric)))
                for metric in _chosen(_metrics_of(results), PLOTTED)
            ),
        ]
        for run in every_run
    ]
    header = ["run", "last epoch", "best epoch"]
    header += map(title_of, _chosen(_metrics_of(results), PLOTTED))
    notes = [paragraph(note) for run in every_run for note in _trouble(run)]
    page.section(
        "learning-curves",
        "Learning curves",
        [
            *notes,
            side_by_side(figures),
            table(
                header,
                rows,
                "Epochs, counted from 0, and validation metrics of the best.",
            ),
        ],
    )


def _losses(page: Page, name: str, runs: List[Run]) -> List[str]:
    parts = sorted(
        {c for run in runs for c in run.curves if c.startswith("train_")},
        key=lambda column: (column != "train_loss", column),
    )
    if len(parts) == 0:
        return []
    lines = {
        part.removeprefix("train_").replace("_", " "): [
            run.curves[part] for run in runs if part in run.curves
        ]
        for part in parts
    }
    return [
        page.figure(
            f"losses-{name}",
            f"Line chart of the training losses of {name} by epoch: "
            f"{_listed(list(lines))}.",
            "The loss is the sum of its parts, weighted as they are here. A "
            "line is a seed. The axis is logarithmic where parts are of very "
            "different size.",
            _draw.curves,
            f"Training losses of {shorten(clean(name), 24)}",
            "mean over the epoch",
            lines,
        )
    ]


def _trouble(run: Run) -> List[str]:
    """Tells in sentences what is unusual about a run."""
    out = []
    for column, curve in run.curves.items():
        bad = [e for e, value in curve.items() if not math.isfinite(value)]
        if len(bad) > 0:
            out.append(
                f"{run.label}: {column} is no finite number in {len(bad)} of "
                f"{len(curve)} epochs, first in epoch {bad[0]}."
            )
    if run.best_epoch is None:
        out.append(
            f"{run.label}: there is no best epoch, since no validation "
            f"Recall@20 was logged; the metrics are those of the last one."
        )
    return out


def add_metrics(page: Page, split: str, results: Dict[str, Results]) -> None:
    r"""Adds metrics as tables, and as bars beside the baselines.

    Args:
        page (Page): The page.
        split (str): The split of the bars.
        results (Dict[str, Dict[str, List[Dict[str, float]]]]): The metrics
            by split, model and seed.
    """
    figures = []
    of_split = results[split]
    for metric in _chosen(_metrics_of(of_split), PLOTTED):
        values = {
            name: [run[metric] for run in of_name if metric in run]
            for name, of_name in of_split.items()
        }
        values = {name: value for name, value in values.items() if value}
        several = any(len(value) > 1 for value in values.values())
        caption = f"Longer is better, on the {SPLITS[split]} split."
        if several:
            caption += (
                " Bars are means over seeds, the lines on them one standard "
                "deviation to either side, the points single seeds."
            )
        figures.append(
            page.figure(
                f"{split}-{metric}",
                f"Bar chart of {title_of(metric)} on the {SPLITS[split]} "
                f"split for {_listed(list(values))}; the numbers are in the "
                f"table below.",
                caption,
                _draw.bars,
                f"{title_of(metric)} ({SPLITS[split]})",
                title_of(metric),
                values,
                POPULAR,
            )
        )
    parts = [side_by_side(figures)]
    for name, of_models in results.items():
        if len(of_models) == 0:
            continue
        metrics = _metrics_of(of_models)
        several = any(len(of_name) > 1 for of_name in of_models.values())
        caption = f"Metrics on the {SPLITS[name]} split"
        if several:
            caption += ": mean ± standard deviation over seeds"
        if name != split:
            caption += ", as the training has written them down"
        caption += ". The best of each column is in bold."
        main = _chosen(metrics, MAIN)
        parts.append(_metric_table(of_models, main, caption))
        if len(metrics) > len(main):
            parts.append(
                details(
                    f"All metrics on the {SPLITS[name]} split",
                    _metric_table(of_models, metrics, caption),
                )
            )
    if len(results["test"]) == 0:
        parts.append(
            paragraph(
                "There are no test metrics: the training has written none "
                "down, and this page reads the test split only if asked to."
            )
        )
    page.section("metrics", "Metrics", parts)


def _metric_table(results: Results, metrics: List[str], caption: str) -> str:
    def average(name: str, metric: str) -> float:
        values = [run[metric] for run in results[name] if metric in run]
        return mean(values) if values else math.nan

    best = {}
    for metric in metrics:
        known = [average(name, metric) for name in results]
        known = [value for value in known if math.isfinite(value)]
        best[metric] = max(known, default=math.nan)
    rows = []
    for name, of_name in results.items():
        row = [Cell(name), Cell(str(len(of_name)))]
        for metric in metrics:
            values = [run[metric] for run in of_name if metric in run]
            row.append(
                Cell(
                    _show_all(values),
                    is_best=len(results) > 1
                    and average(name, metric) == best[metric],
                )
            )
        rows.append(row)
    return table(["model", "runs", *map(title_of, metrics)], rows, caption)


def _show(value: Optional[float]) -> str:
    return DASH if value is None else f"{value:.4f}"


def _show_all(values: List[float]) -> str:
    if len(values) == 0:
        return DASH
    if len(values) == 1:
        return _show(values[0])
    if not all(math.isfinite(value) for value in values):
        return _show(math.nan)
    return f"{mean(values):.4f} ± {stdev(values):.4f}"


def add_modality_weights(
    page: Page,
    analyses: Dict[str, Analysis],
    facts: Facts,
    wanted: Sequence[int],
) -> None:
    r"""Adds how much the attention relies on each modality."""
    parts = [
        paragraph(
            "How much each modality counts in the early-step fusion of an "
            "item. The weights of an item sum to one."
        )
    ]
    for name, analysis in analyses.items():
        if analysis.weights is None:
            why = analysis.why_no_weights or analysis.problem
            parts.append(paragraph(f"{name}: left out. {why}"))
            continue
        parts.append(heading(name))
        parts.extend(_weights_of(page, name, analysis, facts, wanted))
    page.section("modality-weights", "Modality attention", parts)


def _weights_of(
    page: Page,
    name: str,
    analysis: Analysis,
    facts: Facts,
    wanted: Sequence[int],
) -> List[str]:
    weights = analysis.weights
    assert weights is not None
    modalities = weights.modalities
    out, figures = [], []
    num_complete, num_items = (
        weights.is_complete.sum(),
        len(weights.popularity),
    )
    if num_complete < num_items:
        out.append(
            paragraph(
                f"{num_complete:,} of {num_items:,} items have all "
                f"modalities. The distribution and the medians are of these."
            )
        )
    if num_complete > 0:
        bins, size, quartiles = weights.by_popularity()
        figures = [
            page.figure(
                f"modality-weights-{name}",
                f"Histogram of the attention weights of {_listed(modalities)} "
                f"over {num_complete} items.",
                "How many items give a modality how much weight: a line far "
                "to the right is a modality that counts much.",
                _draw.distribution,
                "Weights over items",
                modalities,
                weights.weight[weights.is_complete],
            ),
            page.figure(
                f"modality-weights-by-popularity-{name}",
                f"Chart of the median attention weights of "
                f"{_listed(modalities)} by the item's number of training "
                f"interactions.",
                "Points are medians of a bin of items, lines reach from the "
                "lower to the upper quartile. To the right are the items "
                "with more training interactions.",
                _draw.quartiles,
                "Weights by popularity",
                modalities,
                bins,
                size,
                quartiles,
            ),
        ]
    chosen = choose_items(facts.popularity, wanted)
    ids = [str(facts.item_ids[item]) for item in chosen.items]
    weight = weights.weight[chosen.items]
    why = chosen.why
    breaks = [i for i in range(1, len(why)) if why[i] != why[i - 1]]
    figures.append(
        page.figure(
            f"modality-weights-of-items-{name}",
            f"Stacked bars of the attention weights of {_listed(modalities)} "
            f"for {len(ids)} items; the numbers are in the table below.",
            "A bar is an item, with its id (shortened where long). "
            f"From top to bottom: {', '.join(dict.fromkeys(why))}.",
            _draw.stacked,
            "Weights of single items",
            modalities,
            ids,
            breaks,
            weight,
        )
    )
    rows = [
        [
            Cell(raw),
            Cell(reason),
            Cell(f"{facts.popularity[item]:,}"),
            *(Cell(f"{value:.3f}") for value in row),
        ]
        for raw, reason, item, row in zip(
            ids, why, chosen.items, weight, strict=True
        )
    ]
    listing = table(
        ["item", "chosen as", "training interactions", *modalities],
        rows,
        "The attention weights of single items. A modality that an item "
        "lacks has a weight of zero.",
        num_text=2,
    )
    return [*out, side_by_side(figures), listing]


def add_activity(
    page: Page, split: str, analyses: Dict[str, Analysis], facts: Facts
) -> None:
    r"""Adds the accuracy of users by their activity."""
    accuracies = _accuracies(analyses, facts)
    figures = []
    for metric in ("recall", "ndcg"):
        series = {
            name: accuracy.activity[metric]
            for name, accuracy in accuracies.items()
        }
        title = f"{NAMES[metric]}@20"
        figures.append(
            page.figure(
                f"user-activity-{metric}",
                f"Chart of {title} by the number of training interactions of "
                f"the user for {_listed(list(series))}; the numbers are in "
                f"the table below.",
                "Points are means over the users of a bin, lines one standard "
                "error to either side. To the right are more active users.",
                _draw.binned,
                f"{title} by user activity",
                title,
                "training interactions of the user",
                "users",
                series,
                POPULAR,
            )
        )
    listing = _binned_table(
        ["user's training interactions", "users"],
        {
            f"{name} {title}": accuracy.activity[metric]
            for name, accuracy in accuracies.items()
            for metric, title in (("recall", "Recall@20"), ("ndcg", "NDCG@20"))
        },
    )
    page.section(
        "user-activity",
        "Accuracy by user activity",
        [
            paragraph(
                f"On the {SPLITS[split]} split, for the users that have both "
                f"a training and a held-out interaction, in bins of about "
                f"equally many."
            ),
            *_left_out(analyses),
            side_by_side(figures),
            details("The numbers", listing),
        ],
    )


def add_popularity(
    page: Page, split: str, analyses: Dict[str, Analysis], facts: Facts
) -> None:
    r"""Adds the recall of items by their popularity."""
    series = {
        name: accuracy.popularity
        for name, accuracy in _accuracies(analyses, facts).items()
    }
    figure = page.figure(
        "item-popularity",
        f"Chart of the share of held-out interactions found in the first 20 "
        f"by the number of training interactions of the item for "
        f"{_listed(list(series))}; the numbers are in the table below.",
        "Points are the share of held-out interactions found among the first "
        "20 of their user, lines one standard error to either side. To the "
        "left are rare items.",
        _draw.binned,
        "Recall by item popularity",
        "share found in the first 20",
        "training interactions of the item",
        "held-out interactions",
        series,
        POPULAR,
    )
    first = next(iter(series.values()))
    cold = "No held-out interaction is with a cold item, which has none in "
    cold += "training."
    if first.bins.low[0] == 0:
        cold = (
            f"The bin 0 is that of cold items, without a training "
            f"interaction: {first.size[0]:,} held-out interactions."
        )
    listing = _binned_table(
        ["item's training interactions", "held-out interactions"], series
    )
    page.section(
        "item-popularity",
        "Recall by item popularity",
        [
            paragraph(
                f"On the {SPLITS[split]} split. The bins hold about equally "
                f"many held-out interactions. {cold}"
            ),
            *_left_out(analyses),
            side_by_side([figure]),
            details("The numbers", listing),
        ],
    )


def _accuracies(
    analyses: Dict[str, Analysis], facts: Facts
) -> Dict[str, Accuracy]:
    out = {
        name: analysis.accuracy
        for name, analysis in analyses.items()
        if analysis.accuracy is not None
    }
    return {**out, POPULAR: facts.accuracy}


def _left_out(analyses: Dict[str, Analysis]) -> List[str]:
    return [
        paragraph(f"{name}: left out. {analysis.problem}")
        for name, analysis in analyses.items()
        if analysis.problem is not None
    ]


def _binned_table(header: List[str], series: Dict[str, Binned]) -> str:
    first = next(iter(series.values()))
    rows = []
    for place, label in enumerate(first.bins.labels):
        row = [Cell(label), Cell(f"{first.size[place]:,}")]
        for values in series.values():
            error = values.error[place]
            text = _show(values.mean[place])
            if math.isfinite(error):
                text += f" ± {error:.4f}"
            row.append(Cell(text))
        rows.append(row)
    return table([*header, *series], rows, "Mean ± standard error.")


def add_projection(
    page: Page, analyses: Dict[str, Analysis], facts: Facts
) -> None:
    r"""Adds the item embeddings in the plane."""
    bins = quantile_bins(facts.popularity, zero_apart=True)
    labels = [
        "0 (cold)" if low == 0 else label
        for low, label in zip(bins.low, bins.labels, strict=True)
    ]
    has_cold = bool(bins.low[0] == 0)
    num_warm = len(bins) - has_cold
    steps = np.linspace(0, len(_draw.SCALE) - 1, num_warm).round().astype(int)
    colors = [_draw.SCALE[step][0] for step in steps]
    colors = [_draw.COLD[0]] * has_cold + colors
    place = bins.place(facts.popularity)
    figures = []
    num_drawn = num_items = len(facts.popularity)
    for name, analysis in analyses.items():
        if analysis.projection is None:
            continue
        item, xy, share = analysis.projection
        num_drawn = len(item)
        points = {
            label: xy[place[item] == b] for b, label in enumerate(labels)
        }
        figures.append(
            page.figure(
                f"projection-{name}",
                f"Scatter plot of {num_drawn} item embeddings of {name} on "
                f"their first two principal components, colored by the "
                f"number of training interactions.",
                "A point is an item, its color the number of its training "
                "interactions (below). Items nearby are alike to the model, "
                "as far as two dimensions tell.",
                _draw.scatter,
                f"Items of {shorten(clean(name), 24)}",
                (
                    f"1st component ({share[0]:.0%} of variance)",
                    f"2nd component ({share[1]:.0%} of variance)",
                ),
                points,
                colors,
            )
        )
    drawn = f"All {num_items:,} items are shown."
    if num_drawn < num_items:
        drawn = (
            f"{num_drawn:,} of {num_items:,} items are shown, drawn at random "
            f"by a fixed seed."
        )
    page.section(
        "projection",
        "Item embeddings",
        [
            paragraph(
                f"A principal component analysis of the embeddings of all "
                f"items. {drawn}"
            ),
            *_left_out(analyses),
            side_by_side(figures),
        ],
    )


def _listed(names: List[str]) -> str:
    return ", ".join(map(clean, names))

"""Figures, as SVG that adapts to light and dark pages, and as PNG."""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tmfun_pyg.report._accuracy import Binned
from tmfun_pyg.report._bins import Bins
from tmfun_pyg.report._text import clean, shorten

# In light and in dark surroundings. Figures are drawn in the light colors,
# which the page then names by variables. None occurs twice.
INK = ("#1f2328", "#e6e8eb")
MUTED = ("#6a737d", "#9aa4af")
GRID = ("#d8dde3", "#3a414a")
# After Okabe and Ito, who made their colors for all kinds of color vision;
# made darker or lighter where they would be pale.
SERIES = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f28e4b"),
    ("#009e73", "#2fc795"),
    ("#aa4a8d", "#e39ac6"),
    ("#8a6d00", "#e3c42d"),
    ("#3a94cc", "#a5dcff"),
    ("#444c56", "#c9d1d9"),
)
# From few to many: the more, the more it stands out.
SCALE = (
    ("#e0a030", "#6f5bb0"),
    ("#d8694f", "#a55cc0"),
    ("#b8398a", "#d9689f"),
    ("#7420a6", "#f09a6a"),
    ("#22106f", "#f7e37a"),
)
COLD = ("#8d98a3", "#6b7580")
MARKERS = "os^Dv<>"
DASHES = ("-", "--", ":", "-.")

VARIABLES: Dict[str, Tuple[str, str]] = {
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "cold": COLD,
    **{f"series-{i}": pair for i, pair in enumerate(SERIES)},
    **{f"scale-{i}": pair for i, pair in enumerate(SCALE)},
}

WIDTH, HEIGHT = 4.4, 2.9  # Inches: a phone's width, so text stays readable.
STYLE: Dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED[0],
    "axes.labelcolor": INK[0],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID[0],
    "grid.linewidth": 0.8,
    "text.color": INK[0],
    "xtick.color": MUTED[0],
    "ytick.color": MUTED[0],
    "xtick.labelcolor": INK[0],
    "ytick.labelcolor": INK[0],
    "legend.frameon": False,
    "figure.facecolor": "none",
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    # Ids are no formulas:
    "text.parse_math": False,
    "svg.fonttype": "none",
}


class Picture(NamedTuple):
    r"""A figure in both forms.

    Args:
        svg (str): To be put into a page that defines :obj:`VARIABLES`.
        png (bytes): In light colors.
    """

    svg: str
    png: bytes


def color_of(index: int) -> str:
    r"""Returns the color of a series."""
    return SERIES[index % len(SERIES)][0]


def style_of(index: int) -> Dict[str, Any]:
    r"""Returns the look of a series, which does not rest on color alone."""
    return {
        "color": color_of(index),
        "linestyle": DASHES[index // len(SERIES) % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


REFERENCE = {"color": MUTED[0], "linestyle": "--", "marker": "x"}


def style() -> Any:
    r"""Returns a context with the look of all figures, whatever the user's
    own settings of matplotlib are.
    """
    defaults = dict(matplotlib.rcParamsDefault)
    # It has no place in figures made without pyplot, and is slow to resolve.
    defaults.pop("backend")
    look: Any = {**defaults, **STYLE}
    return matplotlib.rc_context(look)


def curves(
    title: str,
    label: str,
    lines: Dict[str, List[Dict[int, float]]],
    marks: Sequence[Tuple[int, int, float]] = (),
    reference: Optional[Tuple[str, float]] = None,
) -> Figure:
    r"""Draws values by epoch.

    Args:
        title (str): The title.
        label (str): What the values are.
        lines (Dict[str, List[Dict[int, float]]]): By name a line for each
            seed.
        marks (Sequence[Tuple[int, int, float]], optional): Points to stand
            out: the place of the name, the epoch and the value.
            (default: :obj:`()`)
        reference (Tuple[str, float], optional): The name and the value of a
            horizontal line. (default: :obj:`None`)
    """
    fig, ax = _figure(title, "epoch", label, rows=len(lines))
    finite: List[float] = []
    for index, (name, seeds) in enumerate(lines.items()):
        look = style_of(index)
        for place, values in enumerate(seeds):
            epoch, value = list(values), np.array(list(values.values()))
            value[~np.isfinite(value)] = np.nan
            finite.extend(value[np.isfinite(value)])
            # A point without a neighbor makes no line.
            known = np.pad(np.isfinite(value), 1)
            alone = (known[1:-1] & ~known[:-2] & ~known[2:]).any()
            ax.plot(
                epoch,
                value,
                **{**look, "marker": "." if alone else None, "linewidth": 1.2},
                label=_label(name) if place == 0 else "_",
            )
    for index, best, height in marks:
        if np.isfinite(height):
            ax.plot(
                [best],
                [height],
                color=color_of(index),
                marker=MARKERS[index % len(MARKERS)],
                markersize=7,
                zorder=3,
            )
    if reference is not None:
        ax.axhline(
            reference[1],
            color=MUTED[0],
            linestyle="--",
            linewidth=1.2,
            label=_label(reference[0]),
        )
    if len(finite) > 0 and min(finite) > 0 and max(finite) > 50 * min(finite):
        ax.set_yscale("log")
        # The default is in the markup of formulas.
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.minorticks_off()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _with_legend(fig)


def bars(
    title: str, label: str, values: Dict[str, List[float]], reference: str
) -> Figure:
    r"""Draws a bar for each model, and a point for each of its seeds.

    Args:
        title (str): The title.
        label (str): What the values are.
        values (Dict[str, List[float]]): By model a value for each seed.
        reference (str): The model to be drawn as a reference.
    """
    height = 0.9 + 0.34 * max(3, len(values))
    fig, ax = _figure(title, label, "", height=height)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    index = 0
    for place, (name, value) in enumerate(values.items()):
        is_reference = name == reference
        color = MUTED[0] if is_reference else color_of(index)
        index += not is_reference
        known = np.array(value)[np.isfinite(value)]
        if len(known) == 0:
            continue
        ax.barh(place, known.mean(), color=color, height=0.55)
        if len(known) > 1:
            ax.errorbar(
                known.mean(),
                place,
                xerr=known.std(ddof=1),
                color=INK[0],
                capsize=4,
                linewidth=1.2,
            )
            ax.plot(
                known,
                np.full(len(known), place - 0.38),
                linestyle="",
                marker=".",
                color=color,
            )
    ax.set_yticks(range(len(values)), [_label(name) for name in values])
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    return fig


def binned(
    title: str,
    label: str,
    kind: str,
    unit: str,
    series: Dict[str, Binned],
    reference: str,
) -> Figure:
    r"""Draws means with standard errors by bin.

    Args:
        title (str): The title.
        label (str): What the values are.
        kind (str): What the bins are of.
        unit (str): What is counted in each bin.
        series (Dict[str, Binned]): By model the means, all of the same bins.
        reference (str): The model to be drawn as a reference.
    """
    fig, ax = _figure(title, kind, label, rows=len(series))
    first = next(iter(series.values()))
    place = np.arange(len(first.bins))
    shift = np.linspace(-0.5, 0.5, len(series)) * min(0.4, 0.1 * len(series))
    if len(series) == 1:
        shift = np.zeros(1)
    index = 0
    for offset, (name, values) in zip(shift, series.items(), strict=True):
        look = REFERENCE if name == reference else style_of(index)
        index += name != reference
        ax.errorbar(
            place + offset,
            values.mean,
            yerr=np.nan_to_num(values.error),
            capsize=2,
            elinewidth=1,
            label=_label(name),
            **look,
        )
    _bin_ticks(ax, first.bins, first.size, unit)
    ax.set_ylim(bottom=-0.03 * ax.get_ylim()[1])  # Room for points at zero.
    return _with_legend(fig)


def distribution(
    title: str, modalities: List[str], weight: np.ndarray
) -> Figure:
    r"""Draws how the weights of modalities are distributed over items.

    Args:
        title (str): The title.
        modalities (List[str]): Their names.
        weight (np.ndarray): The weights, of shape
            :obj:`[num_items, num_modalities]`.
    """
    fig, ax = _figure(
        title, "attention weight", "share of items", rows=len(modalities)
    )
    low, high = float(weight.min()), float(weight.max())
    margin = max(0.01, 0.02 * (high - low))
    edges = np.linspace(max(0, low - margin), min(1, high + margin), 31)
    for index, name in enumerate(modalities):
        share, _ = np.histogram(weight[:, index], edges)
        look = style_of(index)
        ax.stairs(
            share / len(weight),
            edges,
            color=look["color"],
            linestyle=DASHES[index % len(DASHES)],
            linewidth=1.5,
            label=_label(name),
        )
    ax.set_ylim(bottom=0)
    return _with_legend(fig)


def quartiles(
    title: str,
    modalities: List[str],
    bins: Bins,
    size: np.ndarray,
    value: np.ndarray,
) -> Figure:
    r"""Draws medians and quartiles of weights by bin.

    Args:
        title (str): The title.
        modalities (List[str]): Their names.
        bins (Bins): The bins.
        size (np.ndarray): The number of items in each.
        value (np.ndarray): The quartiles, of shape
            :obj:`[3, num_bins, num_modalities]`.
    """
    fig, ax = _figure(
        title,
        "training interactions of the item",
        "attention weight",
        rows=len(modalities),
    )
    place = np.arange(len(bins))
    shift = np.linspace(-0.1, 0.1, len(modalities))
    for index, name in enumerate(modalities):
        low, middle, high = value[:, :, index]
        ax.errorbar(
            place + shift[index],
            middle,
            yerr=[middle - low, high - middle],
            capsize=2,
            elinewidth=1,
            label=_label(name),
            **style_of(index),
        )
    _bin_ticks(ax, bins, size, "items")
    return _with_legend(fig)


def stacked(
    title: str,
    modalities: List[str],
    labels: List[str],
    breaks: List[int],
    weight: np.ndarray,
) -> Figure:
    r"""Draws the weights of chosen items as stacked bars.

    Args:
        title (str): The title.
        modalities (List[str]): Their names.
        labels (List[str]): The names of the items.
        breaks (List[int]): Where a new group of items begins.
        weight (np.ndarray): The weights, of shape
            :obj:`[num_chosen, num_modalities]`.
    """
    height = 1.0 + 0.24 * len(labels) + 0.2 * ((len(modalities) + 1) // 2)
    fig, ax = _figure(title, "attention weight", "", height=height)
    ax.grid(visible=False, axis="y")
    place = np.arange(len(labels)) + 0.5 * np.isin(
        np.arange(len(labels)), breaks
    ).cumsum(0)
    left = np.zeros(len(labels))
    hatches = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
    for index, name in enumerate(modalities):
        ax.barh(
            place,
            weight[:, index],
            left=left,
            height=0.75,
            facecolor=color_of(index),
            hatch=hatches[index % len(hatches)],
            edgecolor="white",
            linewidth=0.5,
            label=_label(name),
        )
        left += weight[:, index]
    ax.set_yticks(place, [shorten(clean(label), 22) for label in labels])
    ax.set_ylim(place[-1] + 0.6, -0.6)
    ax.set_xlim(0, 1)
    ax.tick_params(axis="y", length=0)
    return _with_legend(fig)


def scatter(
    title: str,
    axes: Tuple[str, str],
    points: Dict[str, np.ndarray],
    colors: List[str],
) -> Figure:
    r"""Draws points in the plane.

    Args:
        title (str): The title.
        axes (Tuple[str, str]): The names of the axes.
        points (Dict[str, np.ndarray]): By class the points, of shape
            :obj:`[num_points, 2]`.
        colors (List[str]): The color of each class.
    """
    fig, ax = _figure(title, *axes, rows=len(points), height=WIDTH - 0.4)
    ax.grid(visible=True, axis="x")
    everything = np.concatenate(list(points.values()))
    span = np.ptp(everything, axis=0).max() or 1.0
    for (name, place), color in zip(points.items(), colors, strict=True):
        # All points in one path, each a line with round ends that is next to
        # nothing long: a tenth of the size of a marker for each.
        end = place + np.array([span * 1e-4, 0])
        vertices = np.stack([place, end], axis=1).reshape(-1, 2)
        codes = np.tile([Outline.MOVETO, Outline.LINETO], len(place))
        patch = PathPatch(
            Outline(vertices, codes),
            fill=False,
            edgecolor=color,
            linewidth=2.6,
            capstyle="round",
            joinstyle="round",
        )
        ax.add_patch(patch)
        ax.plot([], [], linestyle="", marker="o", color=color, label=name)
    for low, high, limit in zip(
        everything.min(axis=0),
        everything.max(axis=0),
        (ax.set_xlim, ax.set_ylim),
        strict=True,
    ):
        limit(low - 0.04 * span, high + 0.04 * span)
    return _with_legend(fig)


def _figure(
    title: str,
    xlabel: str,
    ylabel: str,
    rows: int = 0,
    height: float = HEIGHT,
) -> Tuple[Figure, Any]:
    # Names in the legend, in two columns.
    height += 0.19 * ((rows + 1) // 2)
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    ax = fig.add_subplot()
    ax.set_title(clean(title))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return fig, ax


def _with_legend(fig: Figure) -> Figure:
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        handlelength=2.4,
    )
    return fig


def _bin_ticks(ax: Any, bins: Bins, size: np.ndarray, unit: str) -> None:
    labels = [
        f"{label}\n{count:,}"
        for label, count in zip(bins.labels, size, strict=True)
    ]
    ax.set_xticks(np.arange(len(bins)), labels, fontsize=8)
    ax.set_xlim(-0.5, len(bins) - 0.5)
    ax.set_xlabel(f"{ax.get_xlabel()}\n(below: number of {unit})")


def _label(text: str) -> str:
    """Returns a name for the legend, which ignores those with a leading
    underscore.
    """
    text = shorten(clean(text), 24)
    return f"\u2009{text}" if text.startswith("_") else text


def render(fig: Figure, name: str, alt: str) -> Picture:
    r"""Renders a figure: the same bytes for the same figure.

    Args:
        fig (matplotlib.figure.Figure): The figure.
        name (str): A name that no other figure of the page has.
        alt (str): What the figure shows, for those who cannot see it.
    """
    svg, png = io.BytesIO(), io.BytesIO()
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.hashsalt": name}),
    ):
        # The page has other fonts, which may well have these letters.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        fig.savefig(svg, format="svg", metadata={"Date": None})
        fig.set_layout_engine("none")  # It is laid out, which takes time.
        fig.savefig(
            png,
            format="png",
            dpi=150,
            facecolor="white",
            metadata={"Software": None},
        )
    return Picture(_adapt(svg.getvalue(), name, alt), png.getvalue())


def _adapt(svg: bytes, name: str, alt: str) -> str:
    """Makes an SVG file a part of a page: ids that are no other figure's, the
    colors of the page, and nothing that is not drawn.
    """
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            # The style would be that of the whole page.
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = key.rpartition("}")[2]
            if key == "id":
                value = f"{name}-{value}"
            elif key == "href":
                value = value.replace("#", f"#{name}-", 1)
            elif key == "d":
                value = re.sub(r"\d+\.\d{3,}", _round, value)
            elif key in ("style", "clip-path"):
                value = value.replace("url(#", f"url(#{name}-")
            if key == "fill":  # Of hatched areas, which have no style.
                key, value = "style", f"fill: {value}"
            if key == "style":
                for variable, (light, _) in VARIABLES.items():
                    value = value.replace(light, f"var(--{variable})")
            element.attrib[key] = value
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"role": "img", "aria-label": alt})
    return ET.tostring(root, encoding="unicode")


def _round(number: "re.Match[str]") -> str:
    return f"{float(number[0]):.2f}"

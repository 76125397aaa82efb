"""Figures as SVG and PNG."""

import base64
import io
import math
import warnings
from itertools import pairwise
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import matplotlib.style
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tmfun_pyg.report.bins import Binned
from tmfun_pyg.report.text import printable, shorten

Look = Dict[str, Any]
POPULAR = "most-popular"
# After Okabe and Ito, for all kinds of color vision; pale ones are darkened.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#aa4a8d", "#8a6d00"]
COLORS += ["#3a94cc", "#444c56"]
MARKERS = "os^Dv<>"
DASHES = ["-", "--", ":", "-."]
REFERENCE: Look = {"color": "#6a737d", "linestyle": "--", "marker": "x"}
HATCHES = ["", "///", "...", "xxx", "\\\\\\", "+++", "ooo"]
STYLE: Look = {
    "font.size": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "grid.color": "#d8dde3",
    "errorbar.capsize": 2,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "text.parse_math": False,  # Ids are not formulas.
    "svg.hashsalt": "tmfun_pyg",  # Else ids in a file would be random.
}


def render(plot: Callable[..., Figure], *args: Any) -> Tuple[str, bytes]:
    r"""Draws a figure as SVG in a data URI, and as PNG: the same bytes for
    the same arguments, regardless of the user's matplotlib settings.

    Args:
        plot (callable): One of the functions below.
        *args (optional): Its arguments.
    """
    svg, png = io.BytesIO(), io.BytesIO()
    with (
        matplotlib.style.context(STYLE, after_reset=True),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        fig = plot(*args)
        fig.savefig(svg, format="svg", dpi=150, metadata={"Date": None})
        fig.savefig(png, format="png", dpi=150, metadata={"Software": None})
    encoded = base64.b64encode(svg.getvalue()).decode()
    return f"data:image/svg+xml;base64,{encoded}", png.getvalue()


def curves(
    title: str,
    ylabel: str,
    lines: Dict[str, List[Tuple[Dict[int, float], Optional[int]]]],
    levels: Dict[str, float] = {},  # noqa: B006
) -> Figure:
    r"""Draws values by epoch, on a logarithmic axis if they differ widely.

    Args:
        title (str): The title.
        ylabel (str): The label of the y-axis.
        lines (Dict[str, List[Tuple[Dict[int, float], int]]]): By name, a line
            for each seed, and its best epoch, which has a marker (all epochs
            have one if there is no best).
        levels (Dict[str, float], optional): Horizontal lines by name.
            (default: :obj:`{}`)
    """
    fig, ax = _axes(title, "epoch", ylabel, rows=len(lines) + len(levels))
    for index, (name, seeds) in enumerate(lines.items()):
        for seed, (curve, best) in enumerate(seeds):
            x, y = list(curve), list(curve.values())
            marked = [x.index(best)] if best in curve else 1
            label = _label(name) if seed == 0 else None
            ax.plot(x, y, markevery=marked, label=label, **_look(index))
    for name, value in levels.items():
        ax.axhline(value, **{**REFERENCE, "marker": ""}, label=_label(name))
    drawn = [v for c in lines.values() for one, _ in c for v in one.values()]
    finite = [value for value in drawn if math.isfinite(value)]
    if len(finite) > 0 and 0 < 50 * min(finite) < max(finite):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _with_legend(fig)


def bars(title: str, label: str, values: Dict[str, List[float]]) -> Figure:
    r"""Draws a bar for each model, and a point for each of its seeds.

    Args:
        title (str): The title.
        label (str): The label of the values.
        values (Dict[str, List[float]]): By model, a value for each seed.
    """
    height = 0.9 + 0.34 * max(3, len(values))
    fig, ax = _axes(title, label, height=height, grid="x")
    for place, (name, seeds) in enumerate(values.items()):
        color = _look(place, name)["color"]
        ax.barh(place, np.mean(seeds), color=color, height=0.55)
        if len(seeds) > 1:
            error = np.std(seeds, ddof=1)
            ax.errorbar(np.mean(seeds), place, 0, error, color="k")
            ax.plot(seeds, [place - 0.38] * len(seeds), ".", color=color)
    _name_rows(ax, np.arange(len(values)), list(values))
    return fig


def errorbars(
    title: str, label: str, of: str, unit: str, series: Dict[str, Binned]
) -> Figure:
    r"""Draws means with error bars by bins of training interactions.

    Args:
        title (str): The title.
        label (str): The label of the values.
        of (str): The owner of the training interactions.
        unit (str): The unit of the counts in each bin.
        series (Dict[str, Binned]): The values by name, all with the same bins.
    """
    xlabel = f"training interactions of the {of}\n(below: number of {unit})"
    fig, ax = _axes(title, xlabel, label, rows=len(series))
    width = min(0.4, 0.1 * (len(series) - 1))
    shift = np.linspace(-0.5, 0.5, len(series)) * width
    for index, (name, binned) in enumerate(series.items()):
        x = np.arange(len(binned.size)) + shift[index]
        look = {"label": _label(name), "elinewidth": 1, **_look(index, name)}
        ax.errorbar(x, binned.mean, np.nan_to_num(binned.error), **look)
    ticks = zip(binned.bins.labels, binned.size, strict=True)
    labels = [f"{count}\n{size:,}" for count, size in ticks]
    ax.set_xticks(np.arange(len(labels)), labels, fontsize=8)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    return _with_legend(fig)


def histogram(
    title: str, xlabel: str, ylabel: str, values: Dict[str, np.ndarray]
) -> Figure:
    r"""Draws histograms of values.

    Args:
        title (str): The title.
        xlabel (str): The label of the values.
        ylabel (str): The label of their shares.
        values (Dict[str, np.ndarray]): The values by name.
    """
    fig, ax = _axes(title, xlabel, ylabel, rows=len(values))
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), 30)
    for index, (name, value) in enumerate(values.items()):
        share = np.histogram(value, edges)[0] / len(value)
        dash = DASHES[index % len(DASHES)]
        ax.stairs(share, edges, ls=dash, lw=1.5, label=_label(name))
    return _with_legend(fig)


def stacked(
    title: str,
    xlabel: str,
    rows: Sequence[str],
    groups: Sequence[str],
    parts: Dict[str, np.ndarray],
) -> Figure:
    r"""Draws parts of one as stacked bars.

    Args:
        title (str): The title.
        xlabel (str): The label of the parts.
        rows (Sequence[str]): The names of the bars.
        groups (Sequence[str]): The group of each bar; there is a gap between
            groups.
        parts (Dict[str, np.ndarray]): By name, a value for each bar.
    """
    height = 1.0 + 0.24 * len(rows)
    fig, ax = _axes(title, xlabel, height=height, rows=len(parts), grid="x")
    breaks = [a != b for a, b in pairwise(groups)]
    place = np.arange(len(rows)) + 0.5 * np.cumsum([0, *breaks])
    left = np.zeros(len(rows))
    for index, (name, value) in enumerate(parts.items()):
        hatch, label = HATCHES[index % len(HATCHES)], _label(name)
        ax.barh(place, value, 0.75, left, hatch=hatch, ec="white", label=label)
        left += value
    _name_rows(ax, place, rows)
    ax.set_xlim(0, 1)
    return _with_legend(fig)


def scatter(
    title: str, xlabel: str, ylabel: str, points: Dict[str, np.ndarray]
) -> Figure:
    r"""Draws points in the plane, in colors from light to dark.

    Args:
        title (str): The title.
        xlabel (str): The label of the first coordinate.
        ylabel (str): The label of the second coordinate.
        points (Dict[str, np.ndarray]): The points by class, of shape
            :obj:`[num_points, 2]`.
    """
    fig, ax = _axes(
        title, xlabel, ylabel, height=4, rows=len(points), grid="both"
    )
    colors = matplotlib.colormaps["plasma_r"](np.linspace(0.1, 1, len(points)))
    for (name, xy), color in zip(points.items(), colors, strict=True):
        # Thousands of points are smaller as pixels.
        x, y = xy.T
        ax.scatter(x, y, 5, color=color, rasterized=True, label=name)
    ax.set_aspect("equal", adjustable="datalim")
    return _with_legend(fig, markerscale=2)


def _look(index: int, name: str = "") -> Look:
    """Returns the look of a series, which does not rely on color alone."""
    if name == POPULAR:
        return REFERENCE
    return {
        "color": f"C{index}",
        "linestyle": DASHES[index // len(COLORS) % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def _label(name: str) -> str:
    # Matplotlib's legend skips labels that begin with an underscore.
    return f" {shorten(name)}"


def _axes(
    title: str,
    xlabel: str,
    ylabel: str = "",
    height: float = 2.9,
    rows: int = 0,
    grid: Any = "y",
) -> Tuple[Figure, Axes]:
    # A phone is this wide. The legend has two columns.
    size = 4.4, height + 0.19 * ((rows + 1) // 2)
    fig = Figure(figsize=size, layout="constrained")
    ax = fig.add_subplot()
    ax.set(title=printable(title), xlabel=xlabel, ylabel=ylabel)
    ax.grid(axis=grid)
    return fig, ax


def _name_rows(ax: Axes, place: np.ndarray, names: Sequence[str]) -> None:
    ax.set_yticks(place, [shorten(name, 22) for name in names])
    ax.set_ylim(place[-1] + 0.6, -0.6)
    ax.tick_params(axis="y", length=0)


def _with_legend(fig: Figure, **kwargs: Any) -> Figure:
    fig.legend(loc="outside lower center", ncols=2, **kwargs)
    return fig

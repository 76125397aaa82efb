import base64

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tmfun_pyg.report import figures
from tmfun_pyg.report.bins import mean_by_bin


def test_curves() -> None:
    nan = float("nan")
    curve = {0: 0.5, 1: nan, 2: 0.75}
    lines = {"a": [(curve, 2), ({0: 0.25}, None)], "_b": [({0: 1.0}, 0)]}
    (ax,) = figures.curves("t", "y", lines, {"level": 0.1}).axes
    first, second, _, level = ax.lines
    assert list(first.get_xdata()) == [0, 1, 2]
    np.testing.assert_array_equal(first.get_ydata(), [0.5, nan, 0.75])
    assert first.get_markevery() == [2]  # The best epoch.
    assert second.get_markevery() == 1
    assert first.get_color() == second.get_color()
    assert set(level.get_ydata()) == {0.1}
    assert ax.get_yscale() == "linear"
    labels = [text.get_text().strip() for text in ax.figure.legends[0].texts]
    assert labels == ["a", "_b", "level"]
    (ax,) = figures.curves("t", "y", {"a": [({0: 1.0, 1: 60}, 0)]}).axes
    assert ax.get_yscale() == "log"


def test_bars() -> None:
    values = {"a" * 30: [1.0, 2, 3], figures.POPULAR: [0.5]}
    (ax,) = figures.bars("t", "x", values).axes
    assert [bar.get_width() for bar in ax.patches] == [2, 0.5]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["a" * 21 + "…", figures.POPULAR]
    (segment,) = ax.collections[0].get_segments()
    assert segment[:, 0].tolist() == [1, 3]  # One standard deviation.


def test_errorbars() -> None:
    binned = mean_by_bin(np.array([1, 1, 5]), np.array([0.0, 1.0, 2.0]))
    series = {"a": binned, figures.POPULAR: binned}
    (ax,) = figures.errorbars("t", "y", "user", "users", series).axes
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["1\n2", "5\n1"]
    for container in ax.containers:
        assert container[0].get_ydata().tolist() == [0.5, 2]
    low, high = ax.collections[0].get_segments()[0][:, 1]
    assert (low, high) == (0, 1)  # The standard error is a half.


def test_histogram() -> None:
    values = {"a": np.array([0.0, 0.0, 0.5, 1.0]), "b": np.array([1.0])}
    (ax,) = figures.histogram("t", "x", "y", values).axes
    first, second = (patch.get_data().values for patch in ax.patches)
    assert (first[0], first[-1], first.sum()) == (0.5, 0.25, 1)
    assert (second[0], second[-1], second.sum()) == (0, 1, 1)


def test_stacked() -> None:
    parts = {"a": np.array([0.25, 1]), "b": np.array([0.75, 0])}
    fig = figures.stacked("t", "x", ["$1{", "2"], ["g", "h"], parts)
    bars = fig.axes[0].patches
    assert [bar.get_x() for bar in bars] == [0, 0, 0.25, 1]
    assert [bar.get_width() for bar in bars] == [0.25, 1, 0.75, 0]
    # There is a gap between the groups.
    assert bars[1].get_y() - bars[0].get_y() == 1.5


def test_scatter() -> None:
    points = {"0": np.array([[1.0, 2], [3, 4]]), "1": np.zeros((0, 2))}
    (ax,) = figures.scatter("t", "x", "y", points).axes
    first, second = ax.collections
    assert first.get_offsets().tolist() == [[1, 2], [3, 4]]
    assert len(second.get_offsets()) == 0


def test_render() -> None:
    hostile = {"$x^{$": [1.0], "<b>\x07\ud800\n": [2.0], "--> \u4e66": [3.0]}
    source, png = figures.render(figures.bars, "t\x00", "x", hostile)
    head, _, content = source.partition(",")
    assert head == "data:image/svg+xml;base64"
    svg = base64.b64decode(content).decode()
    assert "<b>" not in svg
    assert "<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")

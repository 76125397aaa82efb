"""The chart of the models on a data set."""

from math import nan
from pathlib import Path
from typing import List

from _report import Row

from tmfun_pyg.utils.files import atomic_write

# Keeps text as text, and makes the file deterministic:
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "tmfun"}


def draw(path: Path, rows: List[Row], reference: str) -> None:
    """Draws Recall@20 and NDCG@20 on test as bars, with the standard deviation
    over the seeds if there are several.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        print('For a chart, pip install "tmfun-pyg[plot]"')
        return
    with rc_context(STYLE):
        fig = Figure(figsize=(9, 1.5 + 0.35 * len(rows)), layout="tight")
        axes = fig.subplots(1, 2, sharey=True)
        labels = [row["label"] for row in rows]
        colors = ["C1" if label == reference else "C0" for label in labels]
        for ax, title in zip(axes, ("test R@20", "test N@20"), strict=True):
            values = [row["metrics"][title] for row in rows]
            means = [value["mean"] for value in values]
            stds = [nan if v["std"] is None else v["std"] for v in values]
            ax.barh(labels, means, xerr=stds, capsize=3, color=colors)
            ax.set_xlabel(title)
        is_svg = path.suffix == ".svg"
        with atomic_write(path) as part:
            metadata = {"Date": None} if is_svg else None
            fig.savefig(part, dpi=150, metadata=metadata)

from pathlib import Path
from typing import List, Literal, Optional

from tmfun_pyg.report import report as make_report

SEVERAL = {"items": "Ids of items whose modality weights to show."}


def report(
    run: Path,
    out: Optional[Path] = None,
    split: Literal["val", "test"] = "val",
    items: Optional[List[str]] = None,
) -> None:
    """Makes one HTML page with figures of a training run, or a comparison of
    all runs in a folder.

    Args:
        run: The folder of one run, or of several.
        out: The folder to write into, by default "report" in that of the run.
        split: The split to show accuracy on.
        items: See above.
    """
    print(f"{make_report(run, out, split, items)}")

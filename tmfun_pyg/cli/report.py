from pathlib import Path
from typing import List, Literal, Optional

from tmfun_pyg.report import report as make_report

SEVERAL = {"items": "Ids of items whose modality weights are to be shown."}


def report(
    run: Path,
    out: Optional[Path] = None,
    split: Literal["val", "test"] = "val",
    items: Optional[List[str]] = None,
) -> None:
    """Makes one page of HTML and its figures of a training run, or of all
    runs in a folder, which are then compared.

    Args:
        run: The folder of the run, or of several.
        out: The folder to write into, "report" in that of the run if not
            given.
        split: The split that accuracy is shown of.
        items: See above.
    """
    print(f"{make_report(run, out, split, items)}")

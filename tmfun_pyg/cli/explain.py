from pathlib import Path
from typing import List, Optional

import numpy as np

from tmfun_pyg.cli._command import load, run
from tmfun_pyg.explain import explain as explain_pair
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.ids import IdIndex


def explain(args: List[str]) -> None:
    """Explains a recommendation."""
    run("explain", write, args)


def write(
    ckpt: Path,
    user: str,
    item: str,
    num_items: int = 5,
    json: Optional[Path] = None,
    plot: Optional[Path] = None,
    root: Optional[str] = None,
    name: Optional[str] = None,
) -> None:
    """Tells what the score of an item for a user is made of: the weights of
    the modalities, and what each item of the user contributes.

    Args:
        ckpt: The checkpoint, of TMFUN or LightGCN.
        user: The id of the user.
        item: The id of the item.
        num_items: How many of the user's items are named.
        json: A file to write the whole explanation into, as JSON.
        plot: A picture to write, .png, .svg or .pdf.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    loaded = load(ckpt, root, name)
    dataset = loaded.dataset
    explanation = explain_pair(
        loaded.model,
        _find("user", user, dataset.user_ids),
        _find("item", item, dataset.item_ids),
        dataset.user_ids,
        dataset.item_ids,
    )
    print(explanation.to_text(num_items))
    if json is not None:
        with atomic_write(json) as part:
            part.write_text(explanation.to_json() + "\n", encoding="utf-8")
    if plot is not None:
        explanation.plot(str(plot), num_items)


def _find(kind: str, raw: str, ids: np.ndarray) -> int:
    index = int(IdIndex(ids).find([raw])[0])
    if index < 0:
        raise ValueError(
            f"--{kind} {raw}: found no such id among {len(ids)}, such as "
            f"{ids[0]}"
        )
    return index

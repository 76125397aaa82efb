from pathlib import Path
from typing import Optional

from tmfun_pyg.recommender import Recommender
from tmfun_pyg.utils.files import atomic_write

# The formats of a picture:
PICTURES = (".png", ".svg", ".pdf")


def explain(
    recommender: Recommender,
    user: str,
    item: str,
    num_items: int = 5,
    json: Optional[Path] = None,
    plot: Optional[Path] = None,
) -> None:
    """Breaks down the score of an item for a user: the weights of the
    modalities, and what each of the user's items contributes.

    Args:
        recommender: The model, TMFUN or LightGCN, and its data set.
        user: The id of the user.
        item: The id of the item.
        num_items: How many of the user's items to name.
        json: A file for the whole explanation, as JSON.
        plot: A picture to write, .png, .svg or .pdf.
    """
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise ValueError(
            f"--plot must end in {', '.join(PICTURES)} (got '{plot}')"
        )
    explanation = recommender.explain(user, item)
    if plot is not None:  # First, since it may fail.
        explanation.plot(str(plot), num_items)
    if json is not None:
        with atomic_write(json) as part:
            part.write_text(explanation.to_json() + "\n", encoding="utf-8")
    print(explanation.to_text(num_items))

from dataclasses import replace
from pathlib import Path
from typing import List, Literal, Optional

from tmfun_pyg.cli.command import with_options
from tmfun_pyg.recommender import Recommender

SEVERAL = {
    "formats": "What to write besides matrices and ids: safetensors (the "
    "matrices in one file), faiss (an index of the items), scorer (a program "
    "of torch.export)."
}


def export(
    recommender: Recommender,
    out: Path,
    formats: Optional[List[str]] = None,
    index: Literal["flat", "hnsw", "ivf"] = "flat",
    k: int = 20,
    overwrite: bool = False,
    fallback: Optional[str] = None,
    cold_items: bool = False,
) -> None:
    """Writes embeddings, ids and seen items into a folder, for a server that
    recommends without the model.

    Args:
        recommender: The model and its data set.
        out: The folder to make.
        formats: See above.
        index: The kind of the faiss index, exact or approximate.
        k: The length of the scorer's lists.
        overwrite: Whether to replace an earlier export in the folder.
        fallback: What unknown users get: popular, popular:30d (any number of
            days), or group:COLUMN (of the item table, whose groups take
            turns); by default the fallback of the checkpoint.
        cold_items: Whether to score items without a training interaction by an
            estimate from their content; needed for lists with a share of them.
    """
    recommender = with_options(recommender, fallback=fallback)
    if cold_items:
        recommender = replace(recommender, cold_items=True)
    manifest = recommender.export(out, formats or (), index, k, overwrite)
    print(f"{out}: {', '.join(manifest['files'])}, manifest.json")

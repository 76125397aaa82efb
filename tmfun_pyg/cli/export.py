from dataclasses import replace
from pathlib import Path
from typing import List, Literal, Optional

from tmfun_pyg.cli.command import with_options
from tmfun_pyg.recommender import Recommender

SEVERAL = {
    "formats": "What to write beside matrices and ids: safetensors (the "
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
    """Writes embeddings, ids and what users have seen into a folder, from
    which a server recommends without the model.

    Args:
        recommender: The model and its data set.
        out: The folder to be made.
        formats: See above.
        index: The kind of the faiss index, exact or approximate.
        k: The length of the scorer's lists.
        overwrite: Whether to replace an earlier export in the folder.
        fallback: What users get of whom nothing is known: popular,
            popular:30d (any number of days) or group:COLUMN (of the item
            table, whose groups take turns). That of the checkpoint if left
            out.
        cold_items: Whether items without a training interaction are scored by
            an estimate from their content, as lists with a share of them need
            it.
    """
    recommender = with_options(recommender, fallback=fallback)
    if cold_items:
        recommender = replace(recommender, cold_items=True)
    manifest = recommender.export(out, formats or (), index, k, overwrite)
    print(f"{out}: {', '.join(manifest['files'])}, manifest.json")

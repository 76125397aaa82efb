from pathlib import Path
from typing import List, Literal, Optional

from tmfun_pyg.cli._command import load, run
from tmfun_pyg.recommender.export import export as export_model

FORMATS = (
    "What to write beside matrices and ids: safetensors (the matrices in one "
    "file), faiss (an index of the items), scorer (a program of "
    "torch.export)."
)


def export(args: List[str]) -> None:
    """Writes what a server needs."""
    run("export", write, args, {"formats": FORMATS})


def write(
    ckpt: Path,
    out: Path,
    formats: Optional[List[str]] = None,
    index: Literal["flat", "hnsw", "ivf"] = "flat",
    k: int = 20,
    overwrite: bool = False,
    root: Optional[str] = None,
    name: Optional[str] = None,
) -> None:
    """Writes embeddings, ids and what users have seen into a folder, from
    which a server recommends without the model.

    Args:
        ckpt: The checkpoint.
        out: The folder to be made.
        formats: See above.
        index: The kind of the faiss index, exact or approximate.
        k: The length of the scorer's lists.
        overwrite: Whether to replace an earlier export in the folder.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    loaded = load(ckpt, root, name)
    manifest = export_model(
        loaded.model,
        out,
        loaded.dataset.user_ids,
        loaded.dataset.item_ids,
        formats or (),
        index,
        k,
        overwrite,
    )
    print(f"{out}: {', '.join(manifest['files'])}, manifest.json")

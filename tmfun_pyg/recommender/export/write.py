"""Writes the matrices, ids and optional files of an export."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Sequence

import numpy as np
import torch

from tmfun_pyg.datasets.item_table import write_table
from tmfun_pyg.recommender.export.read import (
    ITEM_TABLE,
    MANIFEST,
    NEIGHBORS,
    VERSION,
    Exported,
)
from tmfun_pyg.recommender.export.scorer_module import ScorerModule
from tmfun_pyg.recommender.item_index import (
    build_index,
    check_kind,
    describe_index,
    index_recall,
)
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_folder, check_replaceable
from tmfun_pyg.utils.messages import check_count

FILES = {
    "user_embedding.npy": "the embeddings of the users, a row each",
    "item_embedding.npy": "the embeddings of the items, a row each",
    "user_ids.txt": "the raw id of each row of users, one a line",
    "item_ids.txt": "the raw id of each row of items, one a line",
    "seen.npz": "the items that user u has, in training, validation or test: "
    "seen_col[seen_rowptr[u]:seen_rowptr[u + 1]]",
    NEIGHBORS: "what else is in a score: over those neighbor[i] of item i that "
    "user u was trained with, trained_col[trained_rowptr[u]:trained_rowptr[u "
    "+ 1]], the sum of weight[i], divided by the root of the number of the "
    "latter",
    "known.npy": "whether each user has a training interaction; the "
    "embeddings of the others mean nothing, they get items by fallback.npy",
    "popularity.npy": "the number of training interactions of each item",
    "fallback.npy": "the score of each item for users who are not known",
    ITEM_TABLE: "titles, pictures and groups of the items, a row each",
    "embeddings.safetensors": "user_embedding and item_embedding",
    "items.faiss": "an index of the items for maximum inner product of "
    "embeddings alone",
    "scorer.pt2": "a program of torch.export, from indices of users to scores "
    "and indices of their best items, without those they have, and to whether "
    "they are known",
}
# The formats, and the packages that they need.
FORMATS = {
    "safetensors": ("safetensors.torch", "export"),
    "faiss": ("faiss", "ann"),
    "scorer": ("torch", ""),
}
# How recall of an approximate index is measured:
NUM_SAMPLED, RECALL_AT = 1000, 20


def write_export(
    folder: Any,
    content: Exported,
    model: str,
    formats: Sequence[str] = (),
    index: str = "flat",
    k: int = 20,
    overwrite: bool = False,
) -> Dict[str, Any]:
    r"""Writes the files for a server, see
    :meth:`tmfun_pyg.recommender.Recommender.export`.

    Args:
        folder (str): The folder to create.
        content (Exported): The content, in float32, on the CPU.
        model (str): The name of the model, for the manifest.
        formats (List[str], optional): The additional files to write.
            (default: :obj:`()`)
        index (str, optional): The kind of index. (default: :obj:`"flat"`)
        k (int, optional): The length of the lists of the scorer.
            (default: :obj:`20`)
        overwrite (bool, optional): Whether to replace an earlier export.
            (default: :obj:`False`)
    """
    num_users, num_items = len(content.user_ids), len(content.item_ids)
    if isinstance(formats, str) or not set(formats) <= set(FORMATS):
        raise ValueError(
            f"'formats' must be a list of {', '.join(FORMATS)} (got "
            f"{formats!r})"
        )
    modules = {name: import_extra(*FORMATS[name]) for name in formats}
    check_kind(index)
    check_count("k", k)
    if index != "flat" and "faiss" not in formats:
        raise ValueError(
            f"'index' must come with 'faiss' in 'formats' (got '{index}' "
            f"without)"
        )
    if "scorer" in formats and k > num_items:
        raise ValueError(
            f"'k' must be from 1 to the {num_items} items (got {k})"
        )
    target = Path(folder).expanduser().resolve()
    check_replaceable(target, [MANIFEST, *FILES], overwrite)

    user_emb, item_emb = content.user_emb, content.item_emb
    rowptr, col = (x.numpy() for x in content.seen)
    packages = {"tmfun_pyg", "torch", "numpy", *formats} - {"scorer"}
    manifest: Dict[str, Any] = {
        "format_version": VERSION,
        "model": model,
        "num_users": num_users,
        "num_items": num_items,
        "channels": user_emb.size(1),
        "num_seen": len(col),
        "num_known": int(content.known.sum()),
        "dtype": "float32",
        "metric": "inner_product",
        "fallback": content.fallback,
        "scores_cold": content.scores_cold,
        "versions": {n: import_module(n).__version__ for n in sorted(packages)},
        "id_types": {},
    }
    with atomic_folder(target) as part:
        for name, emb, ids in (
            ("user", user_emb, content.user_ids),
            ("item", item_emb, content.item_ids),
        ):
            np.save(part / f"{name}_embedding.npy", emb.numpy())
            _write_ids(part / f"{name}_ids.txt", ids)
            is_integer = ids.dtype.kind == "i"
            manifest["id_types"][name] = "int" if is_integer else "str"
        np.savez(part / "seen.npz", seen_rowptr=rowptr, seen_col=col)
        if content.neighbors is not None:
            np.savez(part / NEIGHBORS, **content.neighbors.arrays())
        np.save(part / "known.npy", content.known.numpy())
        np.save(part / "popularity.npy", content.popularity.numpy())
        np.save(part / "fallback.npy", content.fallback_score.numpy())
        if len(content.item_table.columns) > 0:
            write_table(str(part / ITEM_TABLE), content.item_table)
        if "safetensors" in formats:
            embs = {"user_embedding": user_emb, "item_embedding": item_emb}
            path = part / "embeddings.safetensors"
            modules["safetensors"].save_file(embs, path)
        if "faiss" in formats:
            built = build_index(item_emb, index)
            modules["faiss"].write_index(built, str(part / "items.faiss"))
            manifest["index"] = about = describe_index(built, index)
            if index != "flat":
                sample = user_emb[:: -(-num_users // NUM_SAMPLED)]
                at = min(RECALL_AT, num_items)
                recall = index_recall(built, sample, item_emb, at)
                about[f"recall@{at}"] = recall
        if "scorer" in formats:
            program = torch.export.export(
                ScorerModule(content, k),
                (torch.zeros(2, dtype=torch.long),),
                dynamic_shapes={"user": {0: torch.export.Dim("batch_size")}},
            )
            torch.export.save(program, part / "scorer.pt2")
            manifest["scorer"] = {"k": k}
        written = os.listdir(part)
        manifest["files"] = {n: f for n, f in FILES.items() if n in written}
        text = json.dumps(manifest, indent=2, allow_nan=False)
        (part / MANIFEST).write_text(text + "\n", encoding="utf-8")
        # Some writers create files that only the owner can read.
        mode = (part / MANIFEST).stat().st_mode
        for path in part.iterdir():
            path.chmod(mode)
    return manifest


def _write_ids(path: Path, ids: np.ndarray) -> None:
    lines = [str(raw) for raw in ids.tolist()]
    broken = [line for line in lines if "\n" in line or "\r" in line]
    if broken:
        raise ValueError(
            f"'{path.stem}' must hold no line breaks (got {broken[0]!r})"
        )
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))

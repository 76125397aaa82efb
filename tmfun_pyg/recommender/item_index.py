"""Faiss indices for maximum inner product search over items."""

from typing import Any, Dict

import torch
from torch import Tensor

from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.retrieval import EmbeddingScorer, blocked_topk

KINDS = ("flat", "ivf", "hnsw")
# IVF: cells per square root of the number of items, items per cell that faiss
# needs to learn a centroid, and cells to search.
CELLS, MIN_PER_CELL, PROBES = 4, 39, 32
# HNSW: links per node, and candidates kept in construction and in search.
LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 100, 128


def build_index(item_emb: Tensor, kind: str = "flat") -> Any:
    r"""Builds a faiss index that finds the items with the largest inner
    product.

    Args:
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        kind (str, optional): :obj:`"flat"` compares all items and is exact.
            Two others are approximate, for large catalogs: :obj:`"ivf"`
            compares the items of the :obj:`nprobe` cells nearest to the user,
            :obj:`"hnsw"` walks a graph of items with :obj:`efSearch`
            candidates, fast to search and slow to build. Both numbers can be
            changed on the index.
            (default: :obj:`"flat"`)

    Raises:
        ImportError: If faiss is not installed.
        ValueError: If the kind is unknown.
    """
    check_kind(kind)
    faiss = import_extra("faiss", "ann")
    num_items, channels = item_emb.shape
    cells = max(1, min(int(CELLS * num_items**0.5), num_items // MIN_PER_CELL))
    parts = {"ivf": f"IVF{cells},", "hnsw": f"HNSW{LINKS},"}
    index = faiss.index_factory(
        channels, parts.get(kind, "") + "Flat", faiss.METRIC_INNER_PRODUCT
    )
    if kind == "ivf":
        index.nprobe = min(PROBES, cells)
    if kind == "hnsw":
        index.hnsw.efConstruction = BUILD_WIDTH
        index.hnsw.efSearch = SEARCH_WIDTH
    x = item_emb.detach().float().cpu().contiguous().numpy()
    index.train(x)
    index.add(x)
    return index


def check_kind(kind: str) -> None:
    """Checks the name of a kind of index."""
    if kind not in KINDS:
        raise ValueError(
            f"'index' must be one of {', '.join(KINDS)} (got {kind!r})"
        )


def describe_index(index: Any, kind: str) -> Dict[str, Any]:
    r"""Returns the parameters of an index, as plain values.

    Args:
        index (faiss.Index): An index of :func:`build_index`.
        kind (str): Its kind.
    """
    if kind == "ivf":
        return {"kind": kind, "nlist": index.nlist, "nprobe": index.nprobe}
    if kind == "hnsw":
        return {"kind": kind, "M": LINKS, "efSearch": index.hnsw.efSearch}
    return {"kind": kind}


def index_recall(
    index: Any, user_emb: Tensor, item_emb: Tensor, k: int
) -> float:
    r"""Returns the share of the :obj:`k` items of largest inner product that
    the index finds, averaged over users.

    Args:
        index (faiss.Index): The index.
        user_emb (torch.Tensor): The embeddings of the users, of shape
            :obj:`[num_users, channels]`.
        item_emb (torch.Tensor): The embeddings of all items, of shape
            :obj:`[num_items, channels]`.
        k (int): The length of the lists.
    """
    _, expected = blocked_topk(EmbeddingScorer(user_emb, item_emb), k)
    _, found = index.search(user_emb.contiguous().numpy(), k)
    return list_recall(torch.from_numpy(found), expected)


def list_recall(found: Tensor, expected: Tensor) -> float:
    r"""Returns the share of the expected items that were found.

    Args:
        found (torch.Tensor): Lists of items, of shape
            :obj:`[num_users, k]`, :obj:`-1` where nothing was found.
        expected (torch.Tensor): The expected items, of the same shape.
    """
    # Items are unique within a list: sorted together, twins are adjacent.
    both = torch.cat([found, expected], dim=1).sort(dim=1).values
    twins = (both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)
    return float(twins.sum()) / expected.numel()

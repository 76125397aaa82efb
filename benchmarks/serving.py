"""Users served per second: exact search, and indices of faiss.

    python benchmarks/serving.py --num-items 18000 100000 1000000

Users and items are sampled around centres, as many as the square root of the
number of items, with noise of the spread of the centres; items differ in norm.
A search by faiss includes seen items, so no method leaves them out. Methods
take turns, and the best of `--repeats` counts.
"""

import argparse
import time
from functools import partial
from typing import Callable, Dict, Tuple

import faiss
import numpy as np
import torch
from _environment import describe_environment
from torch import Tensor

from tmfun_pyg.recommender.item_index import (
    build_index,
    describe_index,
    list_recall,
)
from tmfun_pyg.utils.retrieval import EmbeddingScorer, blocked_topk


def draw(
    num_items: int, num_users: int, channels: int, noise: float = 1.0
) -> Tuple[Tensor, Tensor]:
    """Samples the embeddings of users and items."""
    torch.manual_seed(0)
    centres = torch.randn(int(num_items**0.5), channels)

    def around(num_rows: int) -> Tensor:
        row = torch.randint(len(centres), (num_rows,))
        return centres[row] + noise * torch.randn(num_rows, channels)

    length = torch.rand(num_items, 1) + 0.5
    return around(num_users), around(num_items) * length


def _search(index: faiss.Index, x: np.ndarray, k: int) -> Tensor:
    return torch.from_numpy(index.search(x, k)[1])


def measure(
    name: str, user_emb: Tensor, item_emb: Tensor, args: argparse.Namespace
) -> None:
    """Prints the rows for one catalogue."""
    k, x = args.k, user_emb.numpy()
    scorer = EmbeddingScorer(user_emb, item_emb)
    methods: Dict[str, Tuple[float, Callable[[], Tensor]]] = {
        "exact": (0.0, lambda: blocked_topk(scorer, k)[1])
    }
    for kind in args.indices:
        start = time.perf_counter()
        index = build_index(item_emb, kind)
        build = time.perf_counter() - start
        parts = describe_index(index, kind)
        method = ", ".join(f"{key}={value}" for key, value in parts.items())
        methods[method] = build, partial(_search, index, x, k)
    found: Dict[str, Tensor] = {}
    best = dict.fromkeys(methods, float("inf"))
    for _ in range(args.repeats + 1):
        for method, (_, search) in methods.items():
            start = time.perf_counter()
            found[method] = search()
            seconds = time.perf_counter() - start
            best[method] = min(best[method], seconds)
    for method, (build, _) in methods.items():
        recall = list_recall(found[method], found["exact"])
        rate, gain = len(x) / best[method], best["exact"] / best[method]
        cells = f"{build:,.1f} | {rate:,.0f} | {gain:.2f} | {recall:.4f}"
        print(f"| {name} | {method} | {cells} |", flush=True)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--num-items", type=int, nargs="+", default=[18_000])
    add("--num-users", type=int, default=2_000)
    add("--channels", type=int, default=64)
    add("--k", type=int, default=20)
    add("--indices", nargs="*", default=["flat", "ivf", "hnsw"])
    add("--repeats", type=int, default=3)
    args = parser.parse_args()

    print(describe_environment())
    print(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads")
    titles = "items | method | build, s | users a second | x exact"
    print(f"\n| {titles} | recall@{args.k} |\n|{' --- |' * 6}")
    for num_items in args.num_items:
        emb = draw(num_items, args.num_users, args.channels)
        measure(f"{num_items:,}", *emb, args)


if __name__ == "__main__":
    main()

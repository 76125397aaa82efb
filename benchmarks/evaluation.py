"""Seconds and peak memory of one full evaluation with drawn embeddings.

    python benchmarks/evaluation.py --root DIR --name sports

The measure is the cheapest thing that could rank all items for all users: a
matrix product and :func:`torch.topk` in blocks, without masked items, a
defined order of ties, or metrics.
"""

import argparse
import resource
import time
from typing import Callable

import torch
from torch import Tensor

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.retrieval import user_blocks

KS = (5, 10, 20, 50)


def measure(function: Callable[[], object], repeats: int) -> float:
    """Returns the shortest wall time of several runs."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def rank_plainly(user_emb: Tensor, item_emb: Tensor) -> None:
    """Ranks with a matrix product and a plain top-k."""
    user = torch.arange(user_emb.size(0))
    for block in user_blocks(user, item_emb.size(0)):
        (user_emb[block] @ item_emb.t()).topk(max(KS))


def peak_memory() -> float:
    """Returns the peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True)
    parser.add_argument("--name", default="sports")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    data = MultimodalRecDataset(args.root, args.name, modalities=[])[0]
    torch.manual_seed(0)
    user_emb = torch.randn(data["user"].num_nodes, args.channels)
    item_emb = torch.randn(data["item"].num_nodes, args.channels)
    before = peak_memory()

    full = measure(
        lambda: evaluate((user_emb, item_emb), data, "test", KS), args.repeats
    )
    peak = peak_memory()
    plain = measure(lambda: rank_plainly(user_emb, item_emb), args.repeats)
    print(
        f"{user_emb.size(0)} users x {item_emb.size(0)} items, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}\n"
        f"evaluate: {full:.2f} s, peak memory {peak:.0f} MiB "
        f"({peak - before:.0f} MiB more than before)\n"
        f"plain matrix product and top-k: {plain:.2f} s, "
        f"ratio {full / plain:.2f}"
    )


if __name__ == "__main__":
    main()

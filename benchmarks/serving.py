"""Measures users served a second: exact top-k and approximate indices.

    python benchmarks/serving.py --num-items 18000 100000 1000000
    python benchmarks/serving.py --folder EXPORT

Without `--folder`, users and items are drawn around centres, as many as the
square root of the items, with noise of `--noise` times the spread of the
centres; items differ in length. A search by faiss includes what users have
seen, so none is left out by any method. Methods take turns, `--repeats` times,
and the median counts: on a busy machine, compare within one run.
"""

import argparse
import statistics
import time
from typing import Callable, Dict, List, Tuple

import faiss
import torch
from _environment import describe_environment
from torch import Tensor

from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.recommender.item_index import (
    build_index,
    describe_index,
    list_recall,
)
from tmfun_pyg.utils.retrieval import top_k

Search = Callable[[], Tensor]


def draw(
    num_items: int, num_users: int, channels: int, noise: float
) -> Tuple[Tensor, Tensor]:
    """Draws the embeddings of users and items."""
    generator = torch.Generator().manual_seed(0)

    def normal(num_rows: int) -> Tensor:
        return torch.randn(num_rows, channels, generator=generator)

    centres = normal(int(num_items**0.5))

    def around(num_rows: int) -> Tensor:
        row = torch.randint(len(centres), (num_rows,), generator=generator)
        return normal(num_rows).mul_(noise).add_(centres[row])

    length = torch.rand(num_items, 1, generator=generator) + 0.5
    return around(num_users), around(num_items).mul_(length)


def index_search(index: faiss.Index, user_emb: Tensor, k: int) -> Search:
    """Returns a search of all users by an index."""
    x = user_emb.contiguous().numpy()
    return lambda: torch.from_numpy(index.search(x, k)[1])


def make_searches(
    user_emb: Tensor, item_emb: Tensor, args: argparse.Namespace
) -> Dict[str, Tuple[float, Search]]:
    """Returns the seconds to build and the search of each method."""
    k = args.k
    out: Dict[str, Tuple[float, Search]] = {
        "top_k": (0.0, lambda: top_k(user_emb, item_emb, k)[1])
    }
    for kind in args.indices:
        start = time.perf_counter()
        index = build_index(item_emb, kind)
        seconds = time.perf_counter() - start
        search = index_search(index, user_emb, k)
        parts = describe_index(index, kind)
        label = ", ".join(f"{n}={v}" for n, v in parts.items() if n != "kind")
        name = f"faiss {kind}" + (f" ({label})" if label else "")
        out[name] = (seconds, search)
    return out


def measure(
    name: str, user_emb: Tensor, item_emb: Tensor, args: argparse.Namespace
) -> None:
    """Prints the rows of one catalogue."""
    searches = make_searches(user_emb, item_emb, args)
    lists: Dict[str, Tensor] = {}
    seconds: Dict[str, List[float]] = {method: [] for method in searches}
    for _ in range(args.repeats + 1):  # The first round warms up.
        for method, (_, search) in searches.items():
            start = time.perf_counter()
            lists[method] = search()
            seconds[method].append(time.perf_counter() - start)
    exact = statistics.median(seconds["top_k"][1:])
    for method, (built, _) in searches.items():
        median = statistics.median(seconds[method][1:])
        recall = list_recall(lists[method], lists["top_k"])
        rate = len(user_emb) / median
        print(
            f"| {name} | {method} | {built:,.1f} | {rate:,.0f} | "
            f"{exact / median:.2f} | {recall:.4f} |",
            flush=True,
        )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-items", type=int, nargs="+", default=[18_000])
    parser.add_argument("--num-users", type=int, default=2_000)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument(
        "--folder", help="what tmfun_pyg.recommender.export has written"
    )
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument(
        "--indices", nargs="*", default=["flat", "ivf", "hnsw"]
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    print(describe_environment(torch.device("cpu")))
    print(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads")
    print(
        f"| items | method | build, s | users a second | times top_k | "
        f"recall@{args.k} |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    if args.folder is not None:
        exported = load_exported(args.folder)
        order = torch.randperm(
            len(exported.user_emb), generator=torch.Generator().manual_seed(0)
        )
        user_emb = exported.user_emb[order[: args.num_users]]
        name = f"{len(exported.item_emb):,} of {args.folder}"
        measure(name, user_emb, exported.item_emb, args)
        return
    for num_items in args.num_items:
        emb = draw(num_items, args.num_users, args.channels, args.noise)
        measure(f"{num_items:,}", *emb, args)


if __name__ == "__main__":
    main()

r"""Measures how long `FeatureGraph` takes, and how much memory it needs.

    python benchmarks/feature_graph.py --num-items 63001
    python benchmarks/feature_graph.py --num-items 1000000 --recall 0.95 \
        --intrinsic-dim 24 --no-plain

The comparator is a plain product in float32 and :func:`torch.topk`, in blocks
of the same features: neither rounding errors nor ties are looked after. The
recall of an approximate search is that of other items than those it measured
recall on itself.

Drawn features have no structure, which is the worst case of an approximate
search. With `--intrinsic-dim D` they are a random linear map of D drawn
numbers an item, plus noise of a tenth of their standard deviation.
"""

import argparse
import resource
import sys
import time

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms import FeatureGraph

EDGE_TYPE = ("item", "similar_drawn", "item")
SAMPLE = 1000


def peak_memory(device: torch.device) -> float:
    """The most memory that was in use so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def draw(args: argparse.Namespace) -> Tensor:
    """Draws the features."""
    size = (args.num_items, args.dim)
    if args.intrinsic_dim is None:
        return torch.randn(size, device=args.device)
    basis = torch.randn(args.intrinsic_dim, args.dim, device=args.device)
    x = torch.randn(size, device=args.device).mul_(0.1)
    hidden = torch.randn(len(x), len(basis), device=args.device)
    return x.addmm_(hidden, basis, alpha=args.intrinsic_dim**-0.5)


def search_plainly(x: Tensor, k: int, metric: str, rows: Tensor) -> Tensor:
    """Finds neighbors with a product and a plain top-k."""
    if metric == "cosine":
        x = torch.nn.functional.normalize(x)
    square = x.square().sum(dim=1)
    neighbor = rows.new_empty((len(rows), k))
    block_size = max(1, 2**24 // len(x))
    for start in range(0, len(rows), block_size):
        block = rows[start : start + block_size]
        score = torch.addmm(square, x[block], x.t(), beta=-1, alpha=2)
        score[torch.arange(len(block)), block] = -torch.inf
        neighbor[start : start + block_size] = score.topk(k, dim=1).indices
    return neighbor


def measure_recall(
    x: Tensor, edge_index: Tensor, k: int, metric: str
) -> float:
    """The share of the neighbors of some items that was found."""
    generator = torch.Generator().manual_seed(12345)
    sample = torch.randperm(len(x), generator=generator)[:SAMPLE].to(x.device)
    expected = search_plainly(x, k, metric, sample)
    found = edge_index[0].view(-1, k)[sample]  # Sorted by centre.
    same = expected.unsqueeze(2) == found.unsqueeze(1)
    return float(same.any(dim=2).float().mean())


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-items", type=int, default=18_357)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--intrinsic-dim", type=int)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", default="cosine")
    parser.add_argument("--recall", type=float)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--no-plain", action="store_true")
    args = parser.parse_args()

    def synchronize() -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)

    torch.manual_seed(0)
    data = HeteroData()
    data["item"].x_drawn = x = draw(args)
    transform = FeatureGraph(args.k, metric=args.metric, recall=args.recall)
    # Starts the device and the threads, which is not what is measured.
    warm_up = HeteroData()
    warm_up["item"].x_drawn = x[: args.k + 1]
    transform(warm_up)
    synchronize()

    before = peak_memory(args.device)
    start = time.perf_counter()
    edge_index = transform(data)[EDGE_TYPE].edge_index
    synchronize()
    seconds = time.perf_counter() - start
    peak = peak_memory(args.device)
    structure = (
        "no structure"
        if args.intrinsic_dim is None
        else f"intrinsic dimension {args.intrinsic_dim}"
    )
    print(
        f"{args.num_items} items x {args.dim} ({structure}), k={args.k}, "
        f"{args.metric}, recall={args.recall}, {args.device}, "
        f"{torch.get_num_threads()} threads: {edge_index.size(1)} edges, "
        f"{seconds:.1f} s, peak {peak:.0f} MiB ({peak - before:.0f} MiB "
        f"above the start)",
        flush=True,
    )
    if args.recall is not None:
        share = measure_recall(x, edge_index, args.k, args.metric)
        print(f"recall of {SAMPLE} other items: {share:.4f}", flush=True)
    if not args.no_plain:
        start = time.perf_counter()
        rows = torch.arange(len(x), device=x.device)
        search_plainly(x, args.k, args.metric, rows)
        synchronize()
        plain = time.perf_counter() - start
        print(
            f"plain product and top-k: {plain:.1f} s, ratio "
            f"{seconds / plain:.2f}"
        )


if __name__ == "__main__":
    main()

r"""Time, memory and recall of `FeatureGraph`.

    python benchmarks/feature_graph.py --num-items 63001
    python benchmarks/feature_graph.py --num-items 1000000 --recall 0.95 \
        --intrinsic-dim 24 --no-plain

The baseline is a plain product in float32 and :func:`torch.topk`, in blocks
of the same features, which ignores rounding errors and ties. The recall of an
approximate search is measured on other items than those on which it measures
itself.

Random features have no structure, which is the worst case for an approximate
search. With `--intrinsic-dim D` they are a random linear map of D random
numbers per item, plus noise of a tenth of their standard deviation.
"""

import argparse

import torch
import torch.nn.functional as F
from _measure import HEAD, Bench
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms import FeatureGraph

SAMPLE = 1000


def draw(args: argparse.Namespace) -> Tensor:
    """Samples the features."""
    size = (args.num_items, args.dim)
    if args.intrinsic_dim is None:
        return torch.randn(size, device=args.device)
    basis = torch.randn(args.intrinsic_dim, args.dim, device=args.device)
    x = torch.randn(size, device=args.device).mul_(0.1)
    hidden = torch.randn(len(x), len(basis), device=args.device)
    return x.addmm_(hidden, basis, alpha=args.intrinsic_dim**-0.5)


def search_plainly(x: Tensor, k: int, rows: Tensor) -> Tensor:
    """Finds the neighbors of some rows with a product and a plain top-k."""
    x = F.normalize(x)
    blocks = []
    for block in rows.split(max(1, 2**24 // len(x))):
        score = x[block] @ x.t()
        score[torch.arange(len(block), device=x.device), block] = -torch.inf
        blocks.append(score.topk(k, dim=1).indices)
    return torch.cat(blocks)


def find(x: Tensor, k: int, recall: float) -> Tensor:
    """Returns the neighbors found by `FeatureGraph`, one row per item."""
    data = HeteroData()
    data["item"].num_nodes, data["item"].x_drawn = len(x), x
    data = FeatureGraph(k, recall=recall)(data)
    edge_index = data["item", "similar_drawn", "item"].edge_index
    return edge_index[0].view(-1, k)  # Sorted by target.


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--num-items", type=int, default=18_357)
    add("--dim", type=int, default=128)
    add("--intrinsic-dim", type=int)
    add("--k", type=int, default=10)
    add("--recall", type=float)
    add("--device", default="cpu")
    add("--no-plain", action="store_true")
    args = parser.parse_args()

    torch.manual_seed(0)
    x = draw(args)
    bench = Bench(args.device, repeats=1)
    print(f"{vars(args)}, {bench.describe()}\n\n{HEAD}")
    find(x[: args.k + 1], args.k, args.recall)  # Warms up the threads.
    found = []
    bench.measure(
        "FeatureGraph",
        "ours",
        lambda: found.append(find(x, args.k, args.recall)),
    )
    if not args.no_plain:
        rows = torch.arange(len(x), device=x.device)
        bench.measure(
            "FeatureGraph",
            "a plain product and topk",
            lambda: search_plainly(x, args.k, rows),
        )
    generator = torch.Generator().manual_seed(12345)
    sample = torch.randperm(len(x), generator=generator)[:SAMPLE].to(x.device)
    expected = search_plainly(x, args.k, sample)
    same = expected.unsqueeze(2) == found[0][sample].unsqueeze(1)
    recall = float(same.any(dim=2).float().mean())
    print(f"\nrecall of {len(sample)} items: {recall:.4f}")


if __name__ == "__main__":
    main()

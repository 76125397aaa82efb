"""Measures how long `FeatureGraph` takes, and how much memory it needs.

python benchmarks/feature_graph.py --num-items 18357 --dim 128
"""

import argparse
import resource
import sys
import time

import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms import FeatureGraph


def peak_memory(device: torch.device) -> float:
    """The most memory that was in use so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-items", type=int, default=18_357)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", default="cosine")
    parser.add_argument("--device", type=torch.device, default="cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    data = HeteroData()
    data["item"].x_drawn = torch.randn(
        args.num_items, args.dim, device=args.device
    )
    transform = FeatureGraph(args.k, metric=args.metric)
    # Starts the device and the threads, which is not what is measured.
    warm_up = HeteroData()
    warm_up["item"].x_drawn = data["item"].x_drawn[: args.k + 1]
    transform(warm_up)

    before = peak_memory(args.device)
    start = time.perf_counter()
    out = transform(data)
    num_edges = out["item", "similar_drawn", "item"].num_edges
    if args.device.type == "cuda":
        torch.cuda.synchronize(args.device)
    seconds = time.perf_counter() - start
    peak = peak_memory(args.device)
    print(
        f"{args.num_items} items x {args.dim}, k={args.k}, {args.metric}, "
        f"{args.device}, {torch.get_num_threads()} threads: {num_edges} "
        f"edges, {seconds:.1f} s, peak {peak:.0f} MiB ({peak - before:.0f} "
        f"MiB above the start)"
    )


if __name__ == "__main__":
    main()

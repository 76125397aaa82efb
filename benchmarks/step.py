"""Time and peak memory of a training step, in turn with another checkout.

    python benchmarks/step.py --root DIR --data sports --against OTHER

OTHER is a second checkout of this repository, at the commit to compare with.
Each runs in a separate process, and they take turns, so that their ratio holds
on a noisy machine. Only the public API is used. The graph is one of those of
speed.py.
"""

import argparse
import os
import subprocess
import sys
from statistics import median
from typing import Any, List

MODELS = ["TMFUN", "LightGCN"]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Times training steps of two checkouts in turn.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--root", help="folder of the data sets")
    add("--data", default="sports", help="a set, x10 or x100, as in speed.py")
    add("--against", help="a second checkout to compare with")
    add("--models", nargs="+", default=MODELS)
    add("--batch-size", type=int, default=2048)
    add("--rounds", type=int, default=10, help="turns of each checkout")
    add("--steps", type=int, default=5, help="steps a turn")
    add("--device", default="cpu")
    add("--work", help=argparse.SUPPRESS)  # The model of a worker process.
    return parser.parse_args()


def make_step(args: argparse.Namespace) -> Any:
    """Returns a training step of the checkout that is on the path."""
    import torch
    from _graphs import load_graph

    import tmfun_pyg.nn
    import tmfun_pyg.transforms
    from tmfun_pyg.loader import InteractionDataset, InteractionSampler

    data = load_graph(args.data, args.root)
    edge_index = data["user", "interacts", "item"].edge_index.to(args.device)
    torch.manual_seed(0)
    model_cls = getattr(tmfun_pyg.nn, args.work)
    if hasattr(tmfun_pyg.transforms, "ToRecGraph"):
        data = tmfun_pyg.transforms.ToRecGraph()(data).to(args.device)
        model = model_cls.from_data(data).to(args.device)
        data = model.prepare(data, epoch=0)  # As at the start of each epoch.

        def parts(*batch: Any) -> Any:
            return model.loss(data, *batch)

    else:  # Older models, which held their data set.
        model = model_cls.from_data(data).to(args.device)
        parts = model.loss
    dataset = InteractionDataset(edge_index, data["user"].num_nodes)
    batch = dataset[next(iter(InteractionSampler(dataset, args.batch_size)))]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        sum(parts(*batch).values()).backward()
        optimizer.step()

    return step


def work(args: argparse.Namespace) -> None:
    """Takes a turn for each line of input."""
    from _measure import Bench, peak, reset_peak

    bench, step = Bench(args.device, repeats=1), make_step(args)
    step()
    reset_peak(args.device)  # Excludes reading the data set.
    for _ in sys.stdin:
        seconds = bench.time(lambda: [step() for _ in range(args.steps)])
        print(seconds / args.steps, peak(args.device), flush=True)


def compare(model: str, args: argparse.Namespace) -> None:
    """Lets both checkouts take turns, and prints their time and memory."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkouts = [here] + ([args.against] if args.against else [])
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--work", model],
            env={**os.environ, "PYTHONPATH": os.path.abspath(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for checkout in checkouts
    ]
    turns: List[List[List[float]]] = [[] for _ in workers]
    for _ in range(args.rounds):
        for worker, taken in zip(workers, turns, strict=True):
            worker.stdin.write("\n")
            worker.stdin.flush()
            taken.append([float(x) for x in worker.stdout.readline().split()])
    for worker in workers:
        worker.stdin.close()
        worker.wait()
    names = ["this checkout", "other"]
    for name, taken in zip(names, turns, strict=False):
        ms = 1e3 * median(seconds for seconds, _ in taken)
        print(f"{model:<10}{name:<15}{ms:8.1f} ms{taken[-1][1]:8.0f} MiB")
    if len(turns) == 2:
        pairs = list(zip(*turns, strict=True))
        ratios = [ours[0] / other[0] for ours, other in pairs]
        memory = pairs[-1][0][1] / pairs[-1][1][1]
        print(
            f"{model:<10}{'ratio':<15}{median(ratios):8.3f} time "
            f"{memory:5.3f} memory ({min(ratios):.3f} to {max(ratios):.3f})"
        )


def main() -> None:
    """Compares the models one after the other."""
    args = parse_args()
    if args.work is not None:
        work(args)
        return
    for model in args.models:
        compare(model, args)


if __name__ == "__main__":
    main()

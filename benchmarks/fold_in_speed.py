"""CPU milliseconds per user who is folded in.

    python benchmarks/fold_in_speed.py --models LightGCN TMFUN

Users, items, interactions, features of two modalities and similar items are
random; models have their initial weights. The first request computes what the
others reuse; the median of the others counts.
"""

import argparse
import time
from functools import partial
from typing import Any, Callable, Dict, List

import torch
from _environment import describe_environment
from _graphs import MODALITIES, generate

import tmfun_pyg.nn
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.recommender import Recommender


def make_dataset(args: argparse.Namespace) -> Any:
    """Samples a data set of the requested sizes, with integers as raw ids."""
    torch.manual_seed(0)
    data = generate(args.num_users, args.num_items, args.num_interactions)
    for modality in MODALITIES:
        x = torch.randn(args.num_items, args.features)
        data["item"][f"x_{modality}"] = x
    dataset = SyntheticMultimodal(20, 20).replace(
        data, torch.arange(args.num_items).numpy()
    )
    dataset.user_ids = torch.arange(args.num_users).numpy()
    return dataset


def histories(
    num_users: int, num_items: int, seed: int
) -> Dict[str, List[int]]:
    """Samples ten items for each of some new users."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(num_items, (num_users, 10), generator=generator)
    return {f"new {row}": own for row, own in enumerate(items.tolist())}


def median_ms(answer: Callable[[Any], Any], requests: List[Any]) -> float:
    """Answers requests one after the other, on one thread."""
    seconds = []
    for request in requests:
        start = time.process_time()
        answer(request)
        seconds.append(time.process_time() - start)
    return 1000 * sorted(seconds)[len(seconds) // 2]


def _recommend(recommender: Recommender, history: Dict[str, Any]) -> None:
    recommender.recommend(history=history)


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description="Times fold-in.")
    parser.add_argument("--models", nargs="+", default=["LightGCN", "TMFUN"])
    for name, size in (
        ("users", 100_000),
        ("items", 100_000),
        ("interactions", 1_500_000),
    ):
        parser.add_argument(f"--num-{name}", type=int, default=size)
    parser.add_argument("--features", type=int, default=64, help="a modality")
    parser.add_argument("--batch", type=int, default=1000, help="users")
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_environment(), vars(args), sep="\n", end="\n\n")
    print("| model | first request, s | recommend, ms | fold_in, ms |", end=" ")
    print(f"of {args.batch}: recommend, ms a user | fold_in, ms a user |")
    print("| --- |" + " --- |" * 5)
    dataset = make_dataset(args)
    for name in args.models:
        model = getattr(tmfun_pyg.nn, name).from_data(dataset[0])
        model.eval()  # Like a loaded model.
        recommender = Recommender(model, dataset)
        recommend = partial(_recommend, recommender)
        sizes = [1] * args.repeats, [args.batch] * 3
        users, batches = (
            [histories(size, args.num_items, n) for n, size in enumerate(of)]
            for of in sizes
        )
        cells = [
            median_ms(recommend, users[:1]) / 1000,
            median_ms(recommend, users),
            median_ms(recommender.fold_in, users),
            median_ms(recommend, batches) / args.batch,
            median_ms(recommender.fold_in, batches) / args.batch,
        ]
        print(f"| {name} |", *(f"{cell:.3g} |" for cell in cells))


if __name__ == "__main__":
    main()

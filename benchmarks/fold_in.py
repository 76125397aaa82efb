"""Compares users who are folded in with users who models are trained on.

    python benchmarks/fold_in.py --root DIR --data tiktok --seeds 1 --out OUT

Users are divided into folds of equal activity. For each fold, a model is
trained, as in cold.py, without its users, who are then folded in by their
training items; one more, fold_-1, is trained with all. The results are
Recall@20 of (users folded in / trained with) / (known users, without a fold /
with all), and the Recall@20 of users folded in by 1, 2, 3, 5 or 10 random
items of theirs, with all of their items left out of the lists. In --out are
the runs, <data>/<model>/fold_<n>/, and <data>/fold_in.md, fold_in.json.

With --params-from, the --out of accuracy.py, models have the parameters that
were found there.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
import torch
from _errors import run_script
from _options import (
    MODELS,
    add_arguments,
    at_least,
    load_data,
    names_of,
    options_of,
    params_of,
)
from _report import table, write_both
from _runs import Runs
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate, per_user_metrics
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.transforms import AddUsers
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.locked import locked

DEFAULT = ["RP3beta", "EASE", "GFCF", "IALS", "LightGCN", "TMFUN"]
CANNOT = ("Random", "BPRMF", "VBPR")
INTERACTS = ("user", "interacts", "item")
LENGTHS = (1, 2, 3, 5, 10)
COLUMNS = ("folded in", "known", "with all", "quotient", "low", "high")
COLUMNS += tuple(f"by {n}" for n in LENGTHS)


def main() -> None:
    """Does the missing runs, then reports."""
    parser = argparse.ArgumentParser(description="Compares users folded in.")
    add_arguments(parser, DEFAULT)
    add = parser.add_argument
    add("--folds", type=at_least(2), default=5, help="of users")
    add("--params-from", type=Path, help="of accuracy.py")
    args = parser.parse_args()
    if set(CANNOT) & set(args.models):
        parser.error(f"--models must be others than {', '.join(CANNOT)}")
    for name in names_of(args):
        data = load_data(args, name)
        edge_index = data[INTERACTS].edge_index
        count = torch.bincount(edge_index[0], minlength=data["user"].num_nodes)
        fold = count.argsort(stable=True).argsort() % args.folds  # By rank.
        for n in range(-1, args.folds):  # -1 leaves out nobody.
            held = edge_index[:, fold[edge_index[0]] == n]
            rest = load_data(args, name, partial(without, fold=fold, n=n))
            runs = Runs(args, name, rest, partial(judge, held=held))
            for model in args.models:
                fixed, params = options_of(args, model)
                if args.params_from is not None:
                    params = params_of(model, args.params_from / name / model)
                folder = args.out / name / model / f"fold_{n}"
                with locked(folder / "lock"):
                    runs.finish(folder, model, {**params, **fixed})
        out = args.out / name
        done = [m for m in MODELS if all(finished(out / m, args.folds))]
        found = {m: compare(out / m, fold.numpy()) for m in done}
        rows = [[m, *(f"{x:.4f}" for x in v)] for m, v in found.items()]
        write_both(out / "fold_in", table(["model", *COLUMNS], rows), found)


def finished(folder: Path, folds: int) -> Iterator[bool]:
    """Yields for each fold of a model whether there is a run."""
    for n in range(-1, folds):
        yield any((folder / f"fold_{n}").glob("seed_*.npz"))


def without(data: HeteroData, fold: Tensor, n: int) -> HeteroData:
    """Removes the users of a fold from training."""
    for name, side in ((INTERACTS, 0), (("item", "rev_interacts", "user"), 1)):
        edge_index = data[name].edge_index
        data[name].edge_index = edge_index[:, fold[edge_index[side]] != n]
    return data


def judge(
    model: RankingModel, data: HeteroData, path: Path, held: Tensor
) -> Dict[str, Any]:
    """Ranks for known users, and for held-out users instead of their rows."""
    model.cpu()
    user, row = held[0].unique(return_inverse=True)
    pairs = torch.stack([row, held[1]])
    everyone = torch.arange(data["user"].num_nodes)
    place = everyone.scatter(0, user, len(everyone) + torch.arange(len(user)))
    test_user, test_item = data[INTERACTS].test_edge_label_index
    pairs_test = torch.stack([place[test_user], test_item])
    nobody = torch.full_like(user, -1)
    graph = AddUsers(pairs, nobody)(data)  # Items to leave out of lists.
    graph[INTERACTS].test_edge_label_index = pairs_test

    def recall(length: Optional[int] = None) -> np.ndarray:
        history = first(pairs, length)
        if not model.supports_cold_items:  # As in Recommender.
            history = history[:, data["item"].degree[history[1]] > 0]
        fewer = AddUsers(history, nobody)(data)
        found = per_user_metrics(model.scorer(fewer), graph, "test")
        out = np.full(len(everyone), np.nan)
        out[torch.cat([everyone, user])[found["user"]]] = found["recall"]
        return out

    curve = {f"by_{n}": recall(n) for n in LENGTHS if len(user)}
    with atomic_write(path.with_suffix(".npz")) as part:
        np.savez_compressed(part, recall=recall(), **curve)
    return {"test": evaluate(model, data, "test")}


def first(pairs: Tensor, length: Optional[int]) -> Tensor:
    """Returns that many pairs of each user, the same ones for all models."""
    order = np.random.default_rng(0).permutation(pairs.size(1))
    pairs = pairs[:, torch.from_numpy(order)]
    pairs = pairs[:, pairs[0].argsort(stable=True)]
    if length is None:
        return pairs
    count = torch.bincount(pairs[0])
    begin = (count.cumsum(0) - count).repeat_interleave(count)
    return pairs[:, torch.arange(pairs.size(1)) - begin < length]


def compare(folder: Path, fold: np.ndarray) -> List[float]:
    """Returns the values of the columns."""

    def read(n: int, key: str = "recall") -> np.ndarray:
        paths = (folder / f"fold_{n}").glob("seed_*.npz")
        runs = [np.load(path, allow_pickle=False)[key] for path in paths]
        return np.mean(runs, axis=0)

    def own(key: str) -> np.ndarray:
        every = np.stack([read(n, key) for n in range(fold.max() + 1)])
        return every[fold, np.arange(len(fold))]

    held = np.stack([read(n) for n in range(fold.max() + 1)])
    folded_in = own("recall")
    known = (held.sum(axis=0) - folded_in) / (len(held) - 1)
    users = np.stack([folded_in, known, read(-1)], axis=1)
    is_judged = np.isfinite(users).all(axis=1)
    curve = [float(own(f"by_{n}")[is_judged].mean()) for n in LENGTHS]
    users = users[is_judged]
    rng, size = np.random.default_rng(0), len(users)
    drawn = (rng.integers(size, size=size) for _ in range(2000))
    means = [users.mean(axis=0), *(users[row].mean(axis=0) for row in drawn)]
    # Over all users, those trained with all are the same on both sides:
    ratio = np.array([mean[0] / mean[1] for mean in means])
    ends = np.quantile(ratio[1:], [0.025, 0.975])
    return [*means[0].tolist(), float(ratio[0]), *ends.tolist(), *curve]


if __name__ == "__main__":
    run_script(main)

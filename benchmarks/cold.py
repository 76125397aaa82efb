"""Compares models on items that nobody has interacted with in training.

    python benchmarks/cold.py --root DIR --data tiktok --seeds 5 --out OUT

A random share of the items is held out with all their interactions, the same
for all models and seeds. Their features stay, and so do their places in the
feature graphs. The models are trained as in accuracy.py, without a search, and
the epoch is chosen by validation on the other items alone. Without --root it
runs on the synthetic data set. In --out it writes

    <data>/<model>/seed_<n>.json  each run: metrics, how they came about
    <data>/<model>/seed_<n>.npz   the scorer, if it scores cold items
    <data>/cold.md, cold.json     the comparison on a data set

With these scorers, the report shows the cost and benefit of reserving a share
of each list for cold items (--shares), without retraining.

Finished runs are not repeated: after a kill, the same command resumes.
Several processes can work in the same --out, on different models or data.
"""

import argparse
import copy
from pathlib import Path
from typing import Any, Dict, List

import torch
from _cold_shares import compare_shares, save_scorer, share_table
from _errors import run_script
from _options import (
    MODELS,
    add_arguments,
    at_least,
    load_data,
    names_of,
    options_of,
)
from _report import model_table, read_rows, write_report
from _runs import Runs
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import ColdItems, RankingModel
from tmfun_pyg.transforms import HoldOutItems
from tmfun_pyg.utils.locked import locked

DEFAULT = ["Random", "ContentKNN", "ContentRidge", "LightGCN", "VBPR", "TMFUN"]
# The interactions that models are evaluated on, and the ranked items:
RANKINGS = ("cold_among_cold", "cold_among_all", "warm_among_all")
METRICS = {
    f"{split.replace('_', ' ')} {metric[0].upper()}@20": (split, f"{metric}@20")
    for split in RANKINGS
    for metric in ("recall", "ndcg")
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Compares models on items without interactions.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser, DEFAULT)
    add = parser.add_argument
    add("--ratio", type=float, default=0.2, help="share of items held out")
    seed = at_least(0)
    add("--split-seed", type=seed, default=0, help="draws these items")
    shares = [0.0, 0.05, 0.1, 0.2]
    add("--shares", type=float, nargs="+", default=shares, help="of cold items")
    args = parser.parse_args()
    if not 0 < args.ratio < 1:
        parser.error(f"--ratio must be above 0 and below 1 (got {args.ratio})")
    for share in args.shares:
        if not 0 <= share <= 1:
            parser.error(f"--shares must be from 0 to 1 (got {share})")
    return args


def main() -> None:
    """Does the missing runs, then reports."""
    args = parse_args()
    for name in names_of(args):
        split = HoldOutItems(args.ratio, args.split_seed)
        data = load_data(args, name, split)
        runs = Runs(args, name, data, judge)
        runs.settings.update(ratio=args.ratio, split_seed=args.split_seed)
        store = data["user", "interacts", "item"]
        runs.description["cold_items"] = int(data["item"].is_cold.sum())
        runs.description["cold_test"] = store.cold_test_edge_label_index.size(1)
        for model in args.models:
            fixed, params = options_of(args, model)
            folder = args.out / name / model
            with locked(folder / "lock"):
                runs.finish(folder, model, {**params, **fixed})
        points = compare_shares(args.out / name, runs.data, args.shares)
        report(args.out / name, points)


def judge(model: RankingModel, data: HeteroData, path: Path) -> Dict[str, Any]:
    """Ranks cold and warm items."""
    is_cold, ranker = data["item"].is_cold, model.eval()
    if model.estimates_cold_items:
        data = copy.copy(data).to(next(model.parameters()).device)
        with torch.no_grad():
            encoding = model.encode(model.prepare(data))
        embeddings = ColdItems.fit(model, data).extend(encoding)
        ranker = model.scorer_of(*embeddings, data)
    if model.supports_cold_items:
        if isinstance(ranker, RankingModel):
            ranker = ranker.scorer(data)
        save_scorer(path.with_suffix(".npz"), ranker)
    return {
        # For the choice of options, separate from the reported ones:
        "cold_val": evaluate(ranker, data, "cold_val", items=is_cold),
        "cold_among_cold": evaluate(ranker, data, "cold_test", items=is_cold),
        "cold_among_all": evaluate(ranker, data, "cold_test"),
        "warm_among_all": evaluate(ranker, data, "test"),
    }


def report(out: Path, points: List[Dict[str, Any]]) -> None:
    """Writes the comparison of the runs in a folder."""
    rows = read_rows(out, METRICS)
    rows.sort(key=lambda row: MODELS.index(row["label"]))
    data, settings = rows[0]["data"], rows[0]["settings"]
    lines = [
        f"# Cold items on {data['name']}",
        "",
        f"{data['cold_items']:,} of {data['items']:,} items are cold (drawn "
        f"with ratio {settings['ratio']}, seed {settings['split_seed']}), "
        f"with {data['cold_test']:,} interactions to be ranked. "
        f"{data['users']:,} users, {data['train']:,} / {data['val']:,} / "
        f"{data['test']:,} interactions with warm items for training / "
        f"validation / test. Mean ± standard deviation over seeds; the epoch "
        f"was chosen by Recall@20 on warm validation.",
        "",
        *model_table(rows),
        *share_table(points),
    ]
    write_report(out / "cold", lines, rows, shares=points)


if __name__ == "__main__":
    run_script(main)

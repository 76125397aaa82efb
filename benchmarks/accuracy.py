"""Compares models on data sets under one protocol: the same split, batches,
negatives, stopping rule, and number of trials in a search for hyper-parameters
on the validation split; then several seeds, each of which reads the test split
once, with the weights of its best epoch on validation.

    python benchmarks/accuracy.py --root DIR --data tiktok sports --out OUT

Without --root it runs on the synthetic data set. In --out it writes

    <data>/studies.db               the searches, of Optuna: a study each
    <data>/<model>/seed_<n>.json    each run: metrics, how they came about
    <data>/<model>/seed_<n>.npz     Recall@20 and NDCG@20 of every test user
    <data>/results.md, .json, .png  the comparison on a data set
    results.md, .json               the comparison over all of them

Finished runs are not repeated: after a kill, the same command resumes.
Several processes can work in the same --out, on different models or data.
Closed-form methods are fitted once. A method with "+content" has the
parameters that were found for it without. Ablations and variants are runs with
fixed options under their own name:

    python benchmarks/accuracy.py --models TMFUN --params-of TMFUN \
        --set TMFUN.attention=false --tag TMFUN-mean --out OUT ...
"""

import argparse
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
from _chart import draw
from _errors import run_script
from _options import (
    CONTENT,
    MODELS,
    add_arguments,
    at_least,
    load_data,
    model_class,
    names_of,
    options_of,
    params_of,
)
from _paired import compare_all, missing_lines, paired_lines
from _report import model_table, write_report
from _runs import Runs
from _summary import PROTOCOL, Report, read_ranked, report_all, sizes_of
from lightning.pytorch import Callback
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate, per_user_metrics
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training.callbacks import MONITOR
from tmfun_pyg.training.search import SEED, find_best
from tmfun_pyg.training.search_spaces import space_of
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.locked import locked


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Compares models under one protocol.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser, MODELS)
    add = parser.add_argument
    add("--budget", type=at_least(0), default=4, help="trials; 0: the defaults")
    add("--params-of", metavar="LABEL", help="take those of its runs in --out")
    add("--tag", help="name of this variant of a model")
    add("--reference", default="TMFUN", help="is compared with all others")
    add("--report", action="store_true", help="only write the comparison")
    args = parser.parse_args()
    if args.tag in MODELS or (args.tag and len(args.models) > 1):
        parser.error(f"--tag must name a variant of one model (got {args.tag})")
    return args


def main() -> None:
    """Does the missing searches and runs, then reports."""
    args = parse_args()
    for data in () if args.report else names_of(args):
        runs = Runs(args, data, load_data(args, data), judge)
        for name in args.models:
            folder = args.out / data / (args.tag or name)
            with locked(folder / "lock"):
                runs.finish(folder, name, *choose(runs, folder, name))
    done = sorted(
        {path.parents[1] for path in args.out.glob("*/*/seed_*.json")}
    )
    report_all(args.out, [report(path, args.reference) for path in done])


def choose(
    runs: Runs, folder: Path, name: str
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Returns the hyper-parameters of a model, and details of the search."""
    args = runs.args
    fixed, params = options_of(args, name)
    if name.endswith(CONTENT):
        base = fixed["base"]
        options = params_of(base, folder.with_name(base))
        fixed = {"base_options": options, **fixed}
    if args.params_of is not None:
        params = params_of(name, folder.with_name(args.params_of))
        return {**params, **fixed}, {}
    space = space_of(model_class(name).__name__, params) if params else {}
    if args.budget == 0 or len(space) == 0:
        return {**params, **fixed}, {}
    plan = {**runs.plan(name, fixed), "space": space}

    def train(tried: Dict[str, Any], number: int, rule: Callback) -> float:
        path = folder / f"trial_{number}"
        model, course = runs.train(name, {**tried, **fixed}, SEED, path, rule)
        if MONITOR in course:
            return course[MONITOR]
        return evaluate(model, runs.data, "val")["recall@20"]

    path = folder.with_name("studies.db")
    params = find_best(train, path, folder.name, plan, params, args.budget)
    return {**params, **fixed}, {"trials": args.budget, **space}


def judge(model: RankingModel, data: HeteroData, path: Path) -> Dict[str, Any]:
    """Evaluates on the test split."""
    by_user = per_user_metrics(model, data, "test", 20)
    with atomic_write(path.with_suffix(".npz")) as part:
        arrays = {key: value.cpu().numpy() for key, value in by_user.items()}
        np.savez_compressed(part, **arrays)
    return {"test": evaluate(model, data, "test")}


def report(out: Path, reference: str) -> Report:
    """Writes the comparison of the runs on a data set."""
    rows = read_ranked(out)
    paired = compare_all(out, rows, reference)
    lines = [
        f"# Accuracy on {rows[0]['data']['name']}",
        "",
        f"{sizes_of(rows)} {PROTOCOL}",
        "",
        *model_table(rows),
        *paired_lines(paired),
        *missing_lines(out, rows, reference),
    ]
    write_report(out / "results", lines, rows, paired=paired)
    draw(out / "results.png", rows, reference)
    return Report(out.name, rows, paired)


if __name__ == "__main__":
    run_script(main)

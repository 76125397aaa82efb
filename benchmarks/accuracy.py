"""Compares models under one protocol: the same split, batches, negatives,
stopping rule, and number of trials in a search for hyper-parameters on the
validation split; then several seeds, each of which reads the test split once,
with the weights of its best epoch on validation.

    python benchmarks/accuracy.py --root DIR --name tiktok --seeds 5 --out OUT

Without --root it runs on the synthetic data set. In --out it writes

    studies.db                the searches, of Optuna: a study each
    <model>/seed_<n>.json     each run: metrics, and how they came about
    <model>/seed_<n>.npz      Recall@20 and NDCG@20 of every test user
    results.md, .json, .png   the comparison

What is there is not done again: after a kill, the same command goes on.
Several processes can work in the same --out, on different models. Ablations
and variants are runs with fixed options under a name of their own:

    python benchmarks/accuracy.py --models TMFUN --params-of TMFUN \
        --set TMFUN.attention=false --tag TMFUN-mean --out OUT ...
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from _options import MODELS, SPACES, add_arguments, default_of, load_data
from _paired import compare_all, paired_lines
from _report import Row, model_table, read_rows, write_report
from _runs import Runs, locked
from _search import search
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate, per_user_metrics
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.utils.files import atomic_write

VALIDATION = "validation R@20"
METRICS = {
    VALIDATION: ("val", "recall@20"),
    **{f"test R@{k}": ("test", f"recall@{k}") for k in (10, 20, 50)},
    **{f"test N@{k}": ("test", f"ndcg@{k}") for k in (10, 20, 50)},
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Compares models under one protocol.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser, MODELS)
    add = parser.add_argument
    add("--budget", type=int, default=4, help="trials; 0: the defaults")
    add("--params-of", metavar="LABEL", help="take those of its runs in --out")
    add("--tag", help="name of this variant of a model")
    add("--reference", default="TMFUN", help="is compared with all others")
    add("--report", action="store_true", help="only write the comparison")
    args = parser.parse_args()
    if args.tag in MODELS or (args.tag and len(args.models) > 1):
        parser.error(f"--tag must name a variant of one model (got {args.tag})")
    return args


def main() -> None:
    """Searches and runs what is missing, then reports."""
    args = parse_args()
    if not args.report:
        runs = Runs(args, load_data(args), judge)
        for name in args.models:
            folder = args.out / (args.tag or name)
            with locked(folder):
                runs.finish(folder, name, *choose(runs, folder, name))
    report(args.out, args.reference)


def choose(
    runs: Runs, folder: Path, name: str
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Returns the hyper-parameters of a model, and what was searched."""
    args, params, space = runs.args, {}, {}
    fixed = {key: value for model, key, value in args.set if model == name}
    for option, choices in SPACES.get(name, {}).items():
        if option not in fixed:
            params[option] = default_of(name, option)
            space[option] = sorted({params[option], *choices})
    found: Dict[str, Any] = {}
    if args.params_of is not None:
        params = params_of(name, args.out / args.params_of)
    elif args.budget > 0 and len(space) > 0:
        plan = {**runs.plan(name, fixed), "space": space}
        params = search(runs, folder, plan, params)
        found = {"trials": args.budget, **space}
    return {**params, **fixed}, found


def params_of(name: str, folder: Path) -> Dict[str, Any]:
    """Returns the parameters of the finished runs in a folder."""
    for path in sorted(folder.glob("seed_*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["model"] == name:
            return dict(run["params"])
    raise ValueError(f"--params-of: '{folder}' holds no finished run of {name}")


def judge(model: RankingModel, data: HeteroData, path: Path) -> Dict[str, Any]:
    """Reads the test split."""
    by_user = per_user_metrics(model, data, "test", 20)
    with atomic_write(path.with_suffix(".npz")) as part:
        arrays = {key: value.cpu().numpy() for key, value in by_user.items()}
        np.savez_compressed(part, **arrays)
    return {"test": evaluate(model, data, "test")}


def report(out: Path, reference: str) -> None:
    """Writes what the runs in a folder amount to."""
    rows = read_rows(out, METRICS)
    rows.sort(key=lambda row: row["metrics"][VALIDATION]["mean"])
    paired = compare_all(out, rows, reference)
    data = rows[0]["data"]
    lines = [
        f"# Accuracy on {data['name']}",
        "",
        f"{data['users']:,} users, {data['items']:,} items, {data['train']:,} "
        f"/ {data['val']:,} / {data['test']:,} interactions for training / "
        f"validation / test. Mean ± standard deviation over seeds; all items "
        f"but those of training are ranked. Hyper-parameters and epochs were "
        f"chosen on validation, the test split was read once in each run.",
        "",
        *model_table(rows),
        *paired_lines(paired),
    ]
    write_report(out / "results", lines, rows, paired=paired)
    draw(out / "results.png", rows)


def draw(path: Path, rows: List[Row]) -> None:
    """Draws Recall@20 and NDCG@20 on test as bars."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print('For a chart, pip install "tmfun-pyg[plot]"')
        return
    fig = Figure(figsize=(9, 1.5 + 0.35 * len(rows)), layout="tight")
    axes = fig.subplots(1, 2, sharey=True)
    labels = [row["label"] for row in rows]
    for ax, title in zip(axes, ("test R@20", "test N@20"), strict=True):
        values = [row["metrics"][title] for row in rows]
        errors = [value["std"] or 0.0 for value in values]
        ax.barh(labels, [v["mean"] for v in values], xerr=errors, capsize=3)
        ax.set_xlabel(title)
    with atomic_write(path) as part:
        fig.savefig(part, dpi=150)


if __name__ == "__main__":
    main()

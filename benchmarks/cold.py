"""Compares models on items that nobody has interacted with in training.

    python benchmarks/cold.py --root DIR --name tiktok --seeds 5 --out OUT

A random share of the items is held out with all their interactions, the same
for all models and seeds. Their features stay, and so do their places in the
feature graphs. The models are trained as accuracy.py does it, and the epoch
is chosen by validation on the other items alone. Without --root it runs on
the embedded synthetic data set. In --out it writes

    <model>/seed_<n>.json  each run: metrics, and how they came about
    cold.md, cold.json     the comparison

What is there is not done again: after a kill, the same command goes on.
Several processes can work in the same --out, on different models.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from statistics import mean
from typing import Any, Dict, List, Optional, Tuple

import torch
from _environment import describe_environment
from _files import locked, write_text
from _report import mean_std, over_seeds, read_runs, show, table
from accuracy import (
    MODELS,
    add_protocol,
    check_runs,
    default_of,
    describe,
    load_data,
    parse_fixed,
    prepare,
    settings_of,
    train,
)
from torch import Tensor
from torch_geometric.data import HeteroData

import tmfun_pyg.nn
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.transforms import HoldOutItems

DEFAULT = ["Random", "ContentKNN", "LightGCN", "VBPR", "TMFUN"]
# By which interactions models are judged, and among which items:
RANKINGS = {
    "cold_among_cold": "cold among cold",
    "cold_among_all": "cold among all",
    "warm_among_all": "warm among all",
}
METRICS = {"recall@20": "R@20", "ndcg@20": "N@20"}
Embeddings = Tuple[Tensor, Tensor]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Compares models on items without interactions.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--root", help="folder of the data set (default: synthetic data)")
    add("--name", default="tiktok", help="name of the data set in --root")
    here = [name for name in MODELS if hasattr(tmfun_pyg.nn, name)]
    here = list(dict.fromkeys([*DEFAULT, *here]))
    add("--models", nargs="+", choices=here, default=DEFAULT, metavar="MODEL")
    add("--seeds", type=int, default=3, help="number of runs of each model")
    add("--ratio", type=float, default=0.2, help="share of items held out")
    add("--split-seed", type=int, default=0, help="draws these items")
    add(
        "--set",
        action="append",
        default=[],
        metavar="MODEL.OPTION=JSON",
        help="an option in place of its default",
    )
    add_protocol(parser)
    add("--out", type=Path, default=Path("runs/cold"), help="folder")
    add("--keep", action="store_true", help="keep the best weights of runs")
    add("--fresh", action="store_true", help="replace runs of other settings")
    args = parser.parse_args()
    try:
        args.fixed = parse_fixed(args.set)
        for name in args.fixed:
            if name not in args.models:
                raise ValueError(f"{name} is not among --models")
        args.hold_out = HoldOutItems(args.ratio, args.split_seed)
    except ValueError as error:
        parser.error(str(error))
    return args


def main() -> None:
    """Runs what is missing, then reports."""
    args = parse_args()
    prepare()
    # Feature graphs don't depend on interactions: those that were made before
    # are those that would be made now.
    data = args.hold_out(load_data(args))
    for name in args.models:
        compare(name, data, args)
        write_report(args.out)
    print((args.out / "cold.md").read_text(encoding="utf-8"))


def compare(name: str, data: HeteroData, args: argparse.Namespace) -> None:
    """Does the runs that are missing of one model."""
    folder = args.out / name
    try:
        with locked(folder / "lock", wait=False):
            plan = make_plan(name, data, args)
            check_runs(folder, plan, args.fresh)
            # All but Random draw nothing if there is nothing to train.
            is_drawn = name == "Random" or MODELS.get(name) is not None
            for seed in range(args.seeds if is_drawn else min(args.seeds, 1)):
                if not (folder / f"seed_{seed}.json").exists():
                    run(plan, seed, data, folder, args)
    except BlockingIOError:
        raise SystemExit(f"Another process is at work in {folder}") from None


def make_plan(
    name: str, data: HeteroData, args: argparse.Namespace
) -> Dict[str, Any]:
    """Returns what is the same in all runs of a model."""
    store = data["user", "interacts", "item"]
    sizes = {
        "cold_items": int(data["item"].is_cold.sum()),
        "cold_val": store.cold_val_edge_label_index.size(1),
        "cold_test": store.cold_test_edge_label_index.size(1),
    }
    held_out = {"ratio": args.ratio, "split_seed": args.split_seed}
    defaults = {
        option: default_of(name, option) for option in MODELS.get(name) or {}
    }
    return {
        "model": name,
        "settings": {**settings_of(args), **held_out},
        "data": {**describe(data, args), **sizes},
        "params": {**defaults, **args.fixed.get(name, {})},
    }


def run(
    plan: Dict[str, Any],
    seed: int,
    data: HeteroData,
    folder: Path,
    args: argparse.Namespace,
) -> None:
    """Trains with one seed, ranks cold and warm items, and writes it down."""
    course: Dict[str, Any]
    model: Optional[RankingModel] = None
    if plan["model"] == "Random":
        device = torch.device("cpu")
        emb = draw(data, args.channels, seed)
        course = {"val": evaluate(emb, data, "val"), "epochs": 0}
    else:
        model, device, course = train(plan, seed, data, folder, args)
        emb = embed(model)
    is_cold = data["item"].is_cold
    result = {
        **plan,
        "label": folder.name,
        "seed": seed,
        # To choose options by, other than those that are reported:
        "cold_val": evaluate(emb, data, "cold_val", items=is_cold),
        "cold_among_cold": evaluate(emb, data, "cold_test", items=is_cold),
        "cold_among_all": evaluate(emb, data, "cold_test"),
        "warm_among_all": evaluate(emb, data, "test"),
        **course,
        "parameters": 0
        if model is None
        else sum(p.numel() for p in model.parameters()),
        **describe_environment(device),
        "command": shlex.join(["python", *sys.argv]),
        "arguments": {
            **vars(args),
            "out": str(args.out),
            "hold_out": repr(args.hold_out),
        },
    }
    text = json.dumps(result, indent=2) + "\n"
    write_text(folder / f"seed_{seed}.json", text)
    print(
        f"{folder.name}, seed {seed}: validation Recall@20 "
        f"{course['val']['recall@20']:.4f}, {course['epochs']} epochs",
        flush=True,
    )


def draw(data: HeteroData, channels: int, seed: int) -> Embeddings:
    """Returns embeddings that know nothing."""
    generator = torch.Generator().manual_seed(seed)
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    return (
        torch.randn(num_users, channels, generator=generator),
        torch.randn(num_items, channels, generator=generator),
    )


@torch.no_grad()
def embed(model: RankingModel) -> Embeddings:
    """Returns the embeddings of a trained model."""
    model.eval()
    return model()


# The comparison


def write_report(out: Path) -> None:
    """Writes what the runs in a folder amount to."""
    rows = [summarize(label, runs) for label, runs in read_runs(out).items()]
    places = list(dict.fromkeys([*DEFAULT, *MODELS]))
    rows.sort(key=lambda row: places.index(row["label"]))
    text = json.dumps({"models": rows}, indent=2) + "\n"
    write_text(out / "cold.json", text)
    write_text(out / "cold.md", to_markdown(rows))


def summarize(label: str, runs: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Returns mean and standard deviation over the seeds of one model."""
    row: Dict[str, Any] = {"label": label}
    row["seeds"] = [run["seed"] for run in runs]
    for split in ("val", "cold_val", *RANKINGS):
        row[split] = {
            metric: over_seeds([run[split][metric] for run in runs])
            for metric in METRICS
        }
    row["epochs"] = mean(run["epochs"] for run in runs)
    for key in ("params", "parameters", "settings", "data"):
        row[key] = runs[0][key]
    for key in ("commit", "versions", "hardware", "command", "arguments"):
        different = {json.dumps(run[key]): run[key] for run in runs}
        row[key] = list(different.values())
    return row


def to_markdown(rows: List[Dict[str, Any]]) -> str:
    """Returns everything that a reader of the table has to know."""
    if len(rows) == 0:
        return "# Cold items\n\nNo run is finished.\n"
    data = rows[0]["data"]
    settings = rows[0]["settings"]
    num_cold = data["cold_items"]
    lines = [
        f"# Cold items on {data['name']}",
        "",
        f"{num_cold:,} of {data['items']:,} items are cold: drawn at random "
        f"(ratio {settings['ratio']}, seed {settings['split_seed']}) and held "
        f"out with all their interactions, {data['cold_test']:,} of which are "
        f"ranked. {data['users']:,} users, {data['train']:,} / "
        f"{data['val']:,} / {data['test']:,} interactions with the other, "
        f"warm items for training / validation / test. Training items are "
        f"excluded; mean ± standard deviation over seeds. The epoch was "
        f"chosen by Recall@20 on warm validation.",
        "",
    ]
    titles = [
        f"{title} {metric}"
        for title in RANKINGS.values()
        for metric in METRICS.values()
    ]
    lines += table(
        ["model", "seeds", *titles, "epochs"],
        [
            [row["label"], str(len(row["seeds"]))]
            + [
                mean_std(row[key][name])
                for key in RANKINGS
                for name in METRICS
            ]
            + [f"{row['epochs']:.0f}"]
            for row in rows
        ],
    )
    lines += [
        "",
        "Random has embeddings drawn at random. LightGCN, and any other model "
        "that reads no features, can't tell cold items apart: its scores "
        "there come from embeddings that were never trained.",
        "",
        "## How it was made",
        "",
    ]
    for key in ("params", "settings", "commit", "versions", "hardware"):
        lines += _sources(key, rows)
    lines += _sources("command", rows)
    return "\n".join(lines) + "\n"


def _sources(key: str, rows: List[Dict[str, Any]]) -> List[str]:
    """Returns a line for each different value, with its models."""
    values: Dict[str, List[str]] = {}
    for row in rows:
        found = row[key] if isinstance(row[key], list) else [row[key]]
        for value in found:
            text = value if isinstance(value, str) else show(value)
            if text:
                values.setdefault(text, []).append(row["label"])
    return [
        f"- {key} ({', '.join(labels)}): `{text}`"
        for text, labels in values.items()
    ]


if __name__ == "__main__":
    main()

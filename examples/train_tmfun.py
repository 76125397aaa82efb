"""Trains TMFUN and LightGCN, or other models of the package, and compares them
with most-popular.

Without arguments it runs on the embedded synthetic data set:

    python examples/train_tmfun.py

With other models, by their names in lower case:

    python examples/train_tmfun.py --model tmfun freedom mgcn

On a data set in the community's format, here <root>/tiktok/tiktok.inter and
its <modality>_feat.npy, over three seeds:

    python examples/train_tmfun.py --root DIR --name tiktok --seeds 0 1 2

Everything is written into --out:

    metrics.json              versions, arguments and all metrics
    learning_curve.png        validation Recall@20 by epoch
    <model>/seed_<n>/         of each run:
        metrics.csv               losses and validation metrics by epoch
        best.ckpt, last.ckpt      the best and the last epoch
        top_k.csv                 the recommendations, in the data set's ids
"""

import argparse
import csv
import inspect
import json
import platform
import time
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Callable, Dict, List, Type

import lightning
import torch
import torch_geometric
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

import tmfun_pyg
from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import (
    BM3,
    BPRMF,
    FREEDOM,
    LATTICE,
    MGCN,
    MICRO,
    MMGCN,
    TMFUN,
    VBPR,
    EmbeddingTable,
    LightGCN,
    RankingModel,
    SampledRecommender,
    SimGCL,
)
from tmfun_pyg.training import (
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)

MODELS: Dict[str, Type[RankingModel]] = {
    model_cls.__name__.lower(): model_cls
    for model_cls in (
        *(TMFUN, LightGCN, SimGCL, VBPR, MMGCN, LATTICE),
        *(MICRO, BM3, FREEDOM, MGCN, BPRMF),
    )
}
# The components of TMFUN that --without switches off, for ablations:
COMPONENTS = [
    "modality_graphs",
    "item_graph",
    "attention",
    "later_steps",
    "contrastive",
]
TOP_K = 20  # The length of the written lists.
COLUMNS = ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]  # Of the table.


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Trains models and compares them with most-popular.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--root", help="folder of the data set (default: synthetic data)")
    add("--name", default="tiktok", help="name of the data set in --root")
    add(
        "--model",
        nargs="+",
        choices=list(MODELS),
        default=["tmfun", "lightgcn"],
        metavar="MODEL",
        help=f"any of {', '.join(MODELS)}",
    )
    add("--seeds", nargs="+", type=int, default=[0], help="one run for each")
    add("--epochs", type=int, help="at most; 500, or 50 if embedded")
    add("--patience", type=int, default=20, help="epochs without progress")
    add("--channels", type=int, default=64, help="size of the embeddings")
    add("--num-layers", type=int, help="layers over the user-item graph")
    add(
        "--without", nargs="+", choices=COMPONENTS, default=[], help="of TMFUN"
    )
    add("--k", type=int, default=10, help="neighbors in the feature graphs")
    add(
        "--num-neighbors",
        nargs="+",
        type=int,
        help="train on sampled neighborhoods: neighbors drawn, for each layer",
    )
    add("--num-similar", type=int, default=5, help="similar items drawn then")
    add("--lr", type=float, help="learning rate; 2e-3, or 5e-3 if embedded")
    add("--batch-size", type=int, help="interactions; 2048, 512 if embedded")
    add("--accelerator", default="auto", help="cpu, gpu, ... of Lightning")
    add("--precision", default="32-true", help="or bf16-mixed, ...")
    add("--out", type=Path, default=Path("runs/train_tmfun"), help="folder")
    args = parser.parse_args()
    try:
        check_models(args)
    except ValueError as error:
        parser.error(str(error))
    # The embedded data set is small and for a first look: it gets more and
    # longer steps in fewer epochs.
    embedded = args.root is None
    if args.epochs is None:
        args.epochs = 50 if embedded else 500
    if args.lr is None:
        args.lr = 5e-3 if embedded else 2e-3
    if args.batch_size is None:
        args.batch_size = 512 if embedded else 2048
    return args


def check_models(args: argparse.Namespace) -> None:
    """Refuses options that a model does not have."""
    layered = [
        name
        for name, model_cls in MODELS.items()
        if "num_layers" in inspect.signature(model_cls).parameters
    ]
    sampled = [
        name
        for name, model_cls in MODELS.items()
        if issubclass(model_cls, SampledRecommender)
    ]
    for option, value, able in (
        ("--num-layers", args.num_layers, layered),
        ("--num-neighbors", args.num_neighbors, sampled),
    ):
        unable = [name for name in args.model if name not in able]
        if value is not None and len(unable) > 0:
            raise ValueError(
                f"{option} is not for {', '.join(unable)}, only for "
                f"{', '.join(able)}"
            )
    if len(args.without) > 0 and "tmfun" not in args.model:
        raise ValueError("--without is only for tmfun")


def main() -> None:
    """Trains all models over all seeds, then reports."""
    args = parse_args()
    # Without a root, the embedded data set.
    name = None if args.root is None else args.name
    source = DatasetOptions(args.root, name, k=args.k)
    dataset = source.load()
    args.out.mkdir(parents=True, exist_ok=True)

    popular = evaluate(MostPopular.from_data(dataset[0]), dataset[0], "test")
    results: Dict[str, Any] = {"most-popular": {"mean": {"test": popular}}}
    for name in args.model:
        runs = [
            train(name, seed, dataset, source, args) for seed in args.seeds
        ]
        results[name] = {"runs": runs, "mean": over_seeds(mean, runs)}
        if len(runs) > 1:
            results[name]["std"] = over_seeds(stdev, runs)

    write_metrics(results, dataset, args)
    write_learning_curve(args)
    print_table(results)
    print(f"\nEverything else is in {args.out}")


def train(
    name: str,
    seed: int,
    dataset: Any,
    source: DatasetOptions,
    args: argparse.Namespace,
) -> Dict[str, Any]:
    """Trains one model, and tests it as it was in its best epoch."""
    data = dataset[0]
    folder = args.out / name / f"seed_{seed}"
    seed_everything(seed)
    options: Dict[str, Any] = {"channels": args.channels}
    if args.num_layers is not None:
        options["num_layers"] = args.num_layers
    if name == "tmfun":
        options.update(dict.fromkeys(args.without, False))
    if args.num_neighbors is not None:
        options["table"] = partial(EmbeddingTable, sparse=True)
    model = MODELS[name].from_data(data, **options)
    module = RecommenderModule(
        model, lr=args.lr, dataset=dataset, source=source
    )
    datamodule = InteractionDataModule(
        data,
        args.batch_size,
        seed=seed,
        num_neighbors=args.num_neighbors,
        num_similar=args.num_similar,
    )
    stopping, checkpoint = default_callbacks(str(folder), args.patience)
    trainer = Trainer(
        accelerator=args.accelerator,
        devices=1,
        precision=args.precision,
        max_epochs=args.epochs,
        callbacks=[stopping, checkpoint],
        logger=CSVLogger(args.out, name, folder.name),
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(module, datamodule)
    seconds = time.perf_counter() - start

    best = torch.load(checkpoint.best_model_path, weights_only=True)
    module.load_state_dict(best["state_dict"])
    model.to(trainer.strategy.root_device)
    write_top_k(model, dataset, folder / "top_k.csv")
    return {
        "seed": seed,
        "epochs": trainer.current_epoch,
        "best_epoch": best["epoch"],
        "seconds": seconds,
        "val": evaluate(model, data, "val"),
        "test": evaluate(model, data, "test"),
    }


def over_seeds(
    function: Callable[[List[float]], float], runs: List[Dict[str, Any]]
) -> Dict[str, Dict[str, float]]:
    """Applies mean or standard deviation to each metric of several runs."""
    return {
        split: {
            key: function([run[split][key] for run in runs])
            for key in runs[0][split]
        }
        for split in ("val", "test")
    }


def write_top_k(model: Any, dataset: Any, path: Path) -> None:
    """Writes what the model recommends to every user."""
    score, item = (out.cpu() for out in model.recommend(k=TOP_K))
    # Users who have few items left to see get shorter lists:
    user, place = (item >= 0).nonzero(as_tuple=True)
    columns = (
        dataset.user_ids[user.numpy()],
        place.numpy() + 1,
        dataset.item_ids[item[user, place].numpy()],
        score[user, place].numpy(),
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "rank", "item_id", "score"])
        writer.writerows(zip(*(c.tolist() for c in columns), strict=True))


def write_metrics(
    results: Dict[str, Any], dataset: Any, args: argparse.Namespace
) -> None:
    """Writes all results and how they were obtained."""
    store = dataset[0]["user", "interacts", "item"]
    content = {
        "versions": {
            "tmfun_pyg": tmfun_pyg.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
            "lightning": lightning.__version__,
        },
        "arguments": {**vars(args), "out": str(args.out)},
        "dataset": {
            "users": len(dataset.user_ids),
            "items": len(dataset.item_ids),
            "modalities": dataset.modalities,
            "train": store.edge_index.size(1),
            "val": store.val_edge_label_index.size(1),
            "test": store.test_edge_label_index.size(1),
        },
        "results": results,
    }
    path = args.out / "metrics.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_learning_curve(args: argparse.Namespace) -> None:
    """Draws the runs' logs."""
    try:
        import matplotlib
    except ImportError:
        print('For a learning curve, pip install "tmfun-pyg[plot]"')
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    for i, name in enumerate(args.model):
        for seed in args.seeds:
            path = args.out / name / f"seed_{seed}" / "metrics.csv"
            with path.open(newline="", encoding="utf-8") as file:
                rows = [r for r in csv.DictReader(file) if r["val_recall@20"]]
            ax.plot(
                [int(row["epoch"]) for row in rows],
                [float(row["val_recall@20"]) for row in rows],
                color=f"C{i}",
                label=name if seed == args.seeds[0] else None,
            )
    ax.set(xlabel="epoch", ylabel="validation Recall@20")
    ax.legend()
    fig.savefig(args.out / "learning_curve.png", dpi=150)


def print_table(results: Dict[str, Any]) -> None:
    """Prints the test metrics, a row for each run."""

    def row(label: str, test: Dict[str, float], rest: str = "") -> None:
        cells = "".join(f"{test[column]:>11.4f}" for column in COLUMNS)
        print(f"{label:<22}{cells}{rest}")

    header = "".join(f"{column:>11}" for column in COLUMNS)
    print(f"\n{'test':<22}{header}{'epochs':>8}{'seconds':>9}")
    for name, result in results.items():
        runs = result.get("runs", [])
        for run in runs:
            rest = f"{run['epochs']:>8}{run['seconds']:>9.1f}"
            row(f"{name}, seed {run['seed']}", run["test"], rest)
        if len(runs) == 0:
            row(name, result["mean"]["test"])
        if len(runs) > 1:
            row(f"{name}, mean", result["mean"]["test"])
            row(f"{name}, std", result["std"]["test"])


if __name__ == "__main__":
    main()

"""Compares models under one protocol: the same split, batches, negatives,
stopping rule, and number of trials in a search for hyper-parameters on the
validation split; then several seeds, each of which reads the test split once,
with the weights of its best epoch on validation.

    python benchmarks/accuracy.py --root DIR --name tiktok --seeds 5 --out OUT

Without --root it runs on the embedded synthetic data set. In --out it writes

    studies.db                    the searches
    <model>/seed_<n>.json         each run: metrics, and how they came about
    <model>/seed_<n>.npz          Recall@20 and NDCG@20 of every test user
    results.md, .csv, .json, .png the comparison

What is there is not done again: after a kill, the same command goes on.
Several processes can work in the same --out, on different models. Ablations
and variants are runs with fixed options under a name of their own:

    python benchmarks/accuracy.py --models TMFUN --params-of TMFUN \
        --set TMFUN.attention=false --tag TMFUN-mean ...
"""

import argparse
import hashlib
import inspect
import json
import logging
import re
import shlex
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from _environment import describe_environment, find_commit
from _files import locked, write_atomically, write_text
from _report import write_report
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch_geometric.data import HeteroData

import tmfun_pyg.nn
from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate, per_user_metrics
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.training.callbacks import MONITOR
from tmfun_pyg.transforms import FeatureGraph

# What is searched for each model of tmfun_pyg.nn. A model's defaults are
# choices, too, and the first to be tried. No space: there is nothing to train.
COMMON = {"lr": [1e-3, 2e-3, 4e-3], "reg_weight": [1e-4, 1e-3]}
LAYERS = {**COMMON, "num_layers": [2, 3, 4]}
CONTRAST = {**LAYERS, "contrastive_weight": [0.003, 0.01, 0.03, 0.1]}
MODELS: Dict[str, Optional[Dict[str, List[Any]]]] = {
    "MostPopular": None,
    "BPRMF": {"lr": [1e-3, 2e-3, 4e-3], "reg_weight": [1e-4, 1e-3, 1e-2]},
    "LightGCN": LAYERS,
    "SimGCL": {**CONTRAST, "eps": [0.1, 0.2]},
    "VBPR": {"lr": [1e-3, 2e-3, 4e-3], "reg_weight": [1e-4, 1e-3, 1e-2]},
    "MMGCN": LAYERS,
    "LATTICE": {**LAYERS, "skip_weight": [0.5, 0.9]},
    "MICRO": {**CONTRAST, "skip_weight": [0.5, 0.9]},
    "BM3": {**LAYERS, "num_layers": [1, 2, 3], "dropout": [0.3, 0.5]},
    "FREEDOM": {
        **LAYERS,
        "prune": [0.0, 0.5, 0.8],
        "feature_weight": [1e-5, 1e-3],
    },
    "MGCN": CONTRAST,
    "TMFUN": {**CONTRAST, "pair_weight": [0.0, 0.01]},
}
SEARCH_SEED = 0  # Of the training in a trial.
NUM_NEGATIVES = 1
K = 20  # Of the metrics of single users.
# A model that does as well after its weights were restored ranks the same:
TOLERANCE = 1e-3


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Compares models under one protocol.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--root", help="folder of the data set (default: synthetic data)")
    add("--name", default="tiktok", help="name of the data set in --root")
    here = [name for name in MODELS if hasattr(tmfun_pyg.nn, name)]
    add("--models", nargs="+", choices=here, default=here, metavar="MODEL")
    add("--seeds", type=int, default=3, help="number of runs of each model")
    add(
        "--seeds-of",
        action="append",
        default=[],
        metavar="MODEL=N",
        help="another number of runs for a model",
    )
    add("--budget", type=int, default=4, help="trials; 0: the defaults")
    add(
        "--set",
        action="append",
        default=[],
        metavar="MODEL.OPTION=JSON",
        help="fixes an option, which is then not searched",
    )
    add("--params-of", metavar="LABEL", help="take those of its runs in --out")
    add("--tag", help="name of this variant of a model")
    add_protocol(parser)
    add("--reference", default="TMFUN", help="is compared with all others")
    add("--out", type=Path, default=Path("runs/accuracy"), help="folder")
    add("--keep", action="store_true", help="keep the best weights of runs")
    add("--fresh", action="store_true", help="replace runs of other settings")
    add("--report", action="store_true", help="only write the comparison")
    args = parser.parse_args()
    try:
        args.fixed = parse_fixed(args.set)
        args.seeds_of = _parse_seeds(args.seeds_of)
        _check_tag(args.tag, args.models)
        for name in {**args.fixed, **args.seeds_of}:
            if name not in args.models:
                raise ValueError(f"{name} is not among --models")
    except ValueError as error:
        parser.error(str(error))
    return args


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Adds what is the same for all models: data, sizes and stopping rule."""
    add = parser.add_argument
    add("--modalities", nargs="+", help="the only ones to be used")
    add("--shuffle-features", type=int, metavar="SEED", help="among items")
    add("--channels", type=int, default=64, help="size of the embeddings")
    add("--batch-size", type=int, default=2048, help="interactions")
    add("--epochs", type=int, default=500, help="at most")
    add("--patience", type=int, default=20, help="epochs without progress")
    add("--k", type=int, default=10, help="neighbors in the feature graphs")
    add("--accelerator", default="auto", help="cpu, gpu, ... of Lightning")


def parse_fixed(entries: List[str]) -> Dict[str, Dict[str, Any]]:
    """Returns the options that are given as MODEL.OPTION=JSON."""
    fixed: Dict[str, Dict[str, Any]] = {}
    for entry in entries:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.+)", entry)
        if match is None or match[1] not in MODELS:
            raise ValueError(f"--set {entry}: expected MODEL.OPTION=JSON")
        default_of(match[1], match[2])
        try:
            value = json.loads(match[3])
        except json.JSONDecodeError:
            raise ValueError(
                f"--set {entry}: expected JSON such as 0.1, false or "
                f'"attention" (with its quotes), found {match[3]}'
            ) from None
        fixed.setdefault(match[1], {})[match[2]] = value
    return fixed


def _parse_seeds(entries: List[str]) -> Dict[str, int]:
    pairs = [re.fullmatch(r"(\w+)=(\d+)", entry) for entry in entries]
    if None in pairs:
        raise ValueError(f"--seeds-of {' '.join(entries)}: expected MODEL=N")
    return {pair[1]: int(pair[2]) for pair in pairs if pair is not None}


def _check_tag(tag: Optional[str], models: List[str]) -> None:
    if tag is None:
        return
    if len(models) > 1:
        raise ValueError("--tag names a variant of one model: give --models")
    if tag in MODELS or re.fullmatch(r"\w[\w.+-]*", tag) is None:
        raise ValueError(
            f"--tag {tag}: expected letters, digits and '.', '+', '-', '_', "
            f"and not the name of a model"
        )


def default_of(name: str, option: str) -> Any:
    """Returns the default of a model's option, or of the learning rate."""
    owner = getattr(tmfun_pyg.nn, name)
    function = RecommenderModule if option == "lr" else owner
    parameters = inspect.signature(function).parameters
    if option not in parameters:
        raise ValueError(
            f"{name} has no option '{option}', only {', '.join(parameters)}"
        )
    return parameters[option].default


def main() -> None:
    """Searches and runs what is missing, then reports."""
    args = parse_args()
    prepare()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        write_report(args.out, args.reference)
    else:
        data = load_data(args)
        for name in args.models:
            compare(name, data, args)
            write_report(args.out, args.reference)
    print((args.out / "results.md").read_text(encoding="utf-8"))


def prepare() -> None:
    """Takes down the commit, and keeps Lightning quiet."""
    find_commit()  # Not what it is at the end of a run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*LeafSpec.*"):
        warnings.filterwarnings("ignore", message)


def load_data(args: argparse.Namespace) -> HeteroData:
    """Reads the data set, and makes the feature graphs."""
    if args.root is None:
        data = SyntheticMultimodal(seed=0)[0]
    else:
        data = MultimodalRecDataset(args.root, args.name)[0]
    item = data["item"]
    found = [key[2:] for key in item.to_dict() if key.startswith("x_")]
    chosen = found if args.modalities is None else args.modalities
    if not set(chosen) <= set(found):
        raise ValueError(f"--modalities: found {found}, expected {chosen}")
    for name in found:
        for key in (f"x_{name}", f"mask_{name}"):
            if key not in item:
                continue
            if name not in chosen:
                del item[key]
            elif args.shuffle_features is not None:
                # The same for all modalities, which keep belonging together.
                generator = torch.Generator()
                generator.manual_seed(args.shuffle_features)
                order = torch.randperm(item.num_nodes, generator=generator)
                item[key] = item[key][order]
    return FeatureGraph(args.k)(data)


def compare(name: str, data: HeteroData, args: argparse.Namespace) -> None:
    """Does what is missing of one model: the search, then the runs."""
    folder = args.out / (args.tag or name)
    try:
        with locked(folder / "lock", wait=False):
            num_runs = args.seeds_of.get(name, args.seeds)
            if MODELS[name] is None:  # Where nothing is drawn.
                num_runs = min(num_runs, 1)
            plan = make_plan(name, folder.name, data, args)
            check_runs(folder, plan, args.fresh)
            for seed in range(num_runs):
                if not (folder / f"seed_{seed}.json").exists():
                    run(plan, seed, data, folder, args)
    except BlockingIOError:
        raise SystemExit(f"Another process is at work in {folder}") from None


# Which hyper-parameters, under which conditions


def make_plan(
    name: str, label: str, data: HeteroData, args: argparse.Namespace
) -> Dict[str, Any]:
    """Returns what is the same in all runs of a model, after a search."""
    plan = {
        "model": name,
        "settings": settings_of(args),
        "data": describe(data, args),
    }
    fixed = args.fixed.get(name, {})
    params, space = {}, {}
    for option, choices in (MODELS[name] or {}).items():
        if option not in fixed:
            params[option] = default_of(name, option)
            added = [] if params[option] in choices else [params[option]]
            space[option] = [*choices, *added]
    found: Dict[str, Any] = {"finished": 0, "pruned": 0, "space": {}}
    if args.params_of is not None:
        params = params_of(name, args.out / args.params_of)
    elif args.budget > 0 and len(space) > 0:
        from _search import search  # Needs optuna, as nothing else does.

        def objective(params: Dict[str, Any], rest: List[Callback]) -> float:
            stopping, _ = callbacks_of(args)
            chosen = {**params, **fixed}
            fit(name, chosen, SEARCH_SEED, data, args, [stopping, *rest])
            return float(stopping.best_score)

        found = search(
            args.out / "studies.db",
            label,
            space,
            params,
            args.budget,
            {**plan, "fixed": fixed, "seed": SEARCH_SEED},
            objective,
            args.fresh,
        )
        params = found.pop("params")
    return {**plan, "params": {**params, **fixed}, "search": found}


def settings_of(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns what is the same for all models."""
    return {
        "channels": args.channels,
        "batch_size": args.batch_size,
        "negatives": NUM_NEGATIVES,
        "epochs": args.epochs,
        "patience": args.patience,
        "neighbors": args.k,
        "shuffle_features": args.shuffle_features,
        "accelerator": args.accelerator,
    }


def params_of(name: str, folder: Path) -> Dict[str, Any]:
    """Returns the parameters of the finished runs in a folder."""
    for path in sorted(folder.glob("seed_*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["model"] == name:
            return dict(run["params"])
    raise ValueError(f"--params-of: {folder} holds no finished run of {name}")


def describe(data: HeteroData, args: argparse.Namespace) -> Dict[str, Any]:
    """Returns the sizes and hashes that tell data sets apart."""
    store = data["user", "interacts", "item"]
    splits = {
        "train": store.edge_index,
        "val": store.val_edge_label_index,
        "test": store.test_edge_label_index,
    }
    item = data["item"].to_dict()
    content = [
        item[key] for key in sorted(item) if key.startswith(("x_", "mask_"))
    ]

    def fingerprint(tensors: List[torch.Tensor]) -> str:
        state = hashlib.sha256()
        for tensor in tensors:
            state.update(repr((tensor.dtype, tensor.shape)).encode())
            state.update(tensor.contiguous().numpy())
        return state.hexdigest()[:16]

    return {
        "name": "synthetic" if args.root is None else args.name,
        "users": data["user"].num_nodes,
        "items": data["item"].num_nodes,
        **{split: index.size(1) for split, index in splits.items()},
        "modalities": {
            key.removeprefix("x_"): x.size(1)
            for key, x in item.items()
            if key.startswith("x_")
        },
        "interactions_sha256": fingerprint(list(splits.values())),
        "features_sha256": fingerprint(content),
    }


def check_runs(folder: Path, plan: Dict[str, Any], fresh: bool) -> None:
    """Refuses or removes runs that were made under other conditions."""
    for path in sorted(folder.glob("seed_*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in ("model", "params", "settings", "data"):
            expected = json.loads(json.dumps(plan[key]))
            if found[key] == expected:
                continue
            if not fresh:
                raise ValueError(
                    f"{path} was made with other {key}, give --fresh to "
                    f"replace it or --tag to keep both: found {found[key]}, "
                    f"expected {expected}"
                )
            path.unlink()
            break


# One run


def callbacks_of(
    args: argparse.Namespace, folder: Optional[Path] = None
) -> Tuple[EarlyStopping, ModelCheckpoint]:
    """Returns the stopping rule, and what keeps the best weights."""
    dirpath = None if folder is None else str(folder)
    stopping, checkpoint = default_callbacks(dirpath, args.patience)
    assert isinstance(stopping, EarlyStopping)
    assert isinstance(checkpoint, ModelCheckpoint)
    checkpoint.save_last = False
    checkpoint.save_weights_only = True
    return stopping, checkpoint


def fit(
    name: str,
    params: Dict[str, Any],
    seed: int,
    data: HeteroData,
    args: argparse.Namespace,
    callbacks: List[Callback],
) -> Tuple[RecommenderModule, Trainer]:
    """Trains a model until it stops."""
    seed_everything(seed, verbose=False)
    options = {"channels": args.channels, **params}
    lr = options.pop("lr", default_of(name, "lr"))
    model = getattr(tmfun_pyg.nn, name).from_data(data, **options)
    module = RecommenderModule(model, lr=lr)
    trainer = Trainer(
        accelerator=args.accelerator,
        devices=1,
        max_epochs=args.epochs,
        callbacks=callbacks,
        enable_checkpointing=any(
            isinstance(callback, ModelCheckpoint) for callback in callbacks
        ),
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = InteractionDataModule(data, args.batch_size, NUM_NEGATIVES, seed)
    trainer.fit(module, batches)
    return module, trainer


def train(
    plan: Dict[str, Any],
    seed: int,
    data: HeteroData,
    folder: Path,
    args: argparse.Namespace,
) -> Tuple[RankingModel, torch.device, Dict[str, Any]]:
    """Trains with one seed.

    Returns:
        The model with the weights of its best epoch on validation, the device
        it is on, and the course of the training.
    """
    name = plan["model"]
    device = torch.device("cpu")
    start = time.perf_counter()
    if MODELS.get(name) is None:
        model = getattr(tmfun_pyg.nn, name).from_data(data)
        course: Dict[str, Any] = {"best_epoch": None, "epochs": 0}
    else:
        weights = folder / f"seed_{seed}"
        shutil.rmtree(weights, ignore_errors=True)  # Of a killed run.
        callbacks = callbacks_of(args, weights)
        module, trainer = fit(
            name, plan["params"], seed, data, args, list(callbacks)
        )
        best = torch.load(callbacks[1].best_model_path, weights_only=True)
        module.load_state_dict(best["state_dict"])
        model, device = module.model, trainer.strategy.root_device
        course = {
            "best_epoch": best["epoch"],
            "epochs": trainer.current_epoch,
            MONITOR: float(callbacks[0].best_score),
        }
        if not args.keep:
            shutil.rmtree(weights)
    seconds = time.perf_counter() - start
    model.to(device)
    val = evaluate(model, data, "val")
    logged = course.get(MONITOR, val["recall@20"])
    if abs(val["recall@20"] - logged) > TOLERANCE:
        raise RuntimeError(
            f"{name}: with the weights of epoch {course['best_epoch']} its "
            f"validation Recall@20 is {val['recall@20']}, but was "
            f"{logged}: something is missing in its state_dict"
        )
    return model, device, {"val": val, **course, "seconds": seconds}


def run(
    plan: Dict[str, Any],
    seed: int,
    data: HeteroData,
    folder: Path,
    args: argparse.Namespace,
) -> None:
    """Trains with one seed, tests the best epoch, and writes both files."""
    model, device, course = train(plan, seed, data, folder, args)
    by_user = {
        key: value.cpu().numpy()
        for key, value in per_user_metrics(model, data, "test", K).items()
    }
    result = {
        **plan,
        "label": folder.name,
        "seed": seed,
        "test": evaluate(model, data, "test"),
        **course,
        "parameters": sum(p.numel() for p in model.parameters()),
        **describe_environment(device),
        "command": shlex.join(["python", *sys.argv]),
        "arguments": {**vars(args), "out": str(args.out)},
    }
    path = folder / f"seed_{seed}.npz"
    write_atomically(path, lambda file: np.savez_compressed(file, **by_user))
    # The last file: it says that the run is finished.
    text = json.dumps(result, indent=2) + "\n"
    write_text(path.with_suffix(".json"), text)
    print(
        f"{folder.name}, seed {seed}: validation Recall@20 "
        f"{course['val']['recall@20']:.4f}, {course['epochs']} epochs, "
        f"{course['seconds']:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()

"""Shared by all comparisons of models: options, models and data."""

import argparse
import inspect
import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import BaseTransform

import tmfun_pyg.baselines
import tmfun_pyg.nn
from tmfun_pyg.baselines.with_content import BASES
from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.nn import BPRMF, RankingModel
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.training.search_spaces import SPACES as ALL
from tmfun_pyg.transforms import FeatureGraph

# Models with nothing to choose or learn. The first has random embeddings.
PLAIN = ["Random", "MostPopular", "ContentKNN"]
# Adds content scores to a method without them, with one space for all:
CONTENT = "+content"
SPACES = {
    **{name: space for name, space in ALL.items() if name != "WithContent"},
    **{f"{name}{CONTENT}": ALL["WithContent"] for name in BASES},
}
MODELS = [*PLAIN, *SPACES]


def add_arguments(parser: argparse.ArgumentParser, models: List[str]) -> None:
    """Adds the options of data, models and training."""
    add = parser.add_argument
    add("--root", help="folder of the data sets (default: synthetic data)")
    add("--data", nargs="+", default=["tiktok"], help="data sets in --root")
    add("--modalities", nargs="+", help="the only ones to be used")
    seed, one = at_least(0), at_least(1)
    add("--shuffle-features", type=seed, metavar="SEED", help="among items")
    add("--k", type=one, default=10, help="neighbors in the feature graphs")
    add(
        "--models",
        nargs="+",
        choices=MODELS,
        default=models,
        metavar="MODEL",
        help="to be compared",
    )
    add("--seeds", type=one, default=3, help="number of runs of each model")
    add(
        "--set",
        action="append",
        default=[],
        type=fixed_option,
        metavar="MODEL.OPTION=JSON",
        help="fixes an option",
    )
    add("--channels", type=one, default=64, help="size of the embeddings")
    add("--batch-size", type=one, default=2048, help="interactions")
    add("--epochs", type=one, default=500, help="at most")
    patience = "epochs without progress"
    add("--patience", type=at_least(0), default=20, help=patience)
    add("--accelerator", default="auto", help="cpu, gpu, ... of Lightning")
    add("--keep", action="store_true", help="keep the best weights of runs")
    add("--out", type=Path, required=True, help="folder of the results")


def at_least(least: int) -> Callable[[str], int]:
    """Returns a parser of integers that are not below a minimum."""

    def read(text: str) -> int:
        if re.fullmatch(r"-?\d+", text) is None or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {least} (got '{text}')"
            )
        return int(text)

    return read


def fixed_option(text: str) -> Tuple[str, str, Any]:
    """Parses MODEL.OPTION=JSON."""
    match = re.fullmatch(r"([\w+]+)\.(\w+)=(.+)", text)
    if match is None or match[1] not in SPACES:
        raise argparse.ArgumentTypeError(f"{text}: is not MODEL.OPTION=JSON")
    try:
        default_of(match[1], match[2])
        return match[1], match[2], json.loads(match[3])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def names_of(args: argparse.Namespace) -> List[str]:
    """Returns the names of the data sets."""
    return ["synthetic"] if args.root is None else args.data


def is_trained(name: str) -> bool:
    """Returns whether a model is trained by gradient descent."""
    return "lr" in SPACES.get(name, {})


def is_simple(name: str) -> bool:
    """Returns whether a model is one of `tmfun_pyg.baselines`."""
    return name != "Random" and not is_trained(name)


def model_class(name: str) -> Type[RankingModel]:
    """Returns a model by its name."""
    if name == "Random":
        return BPRMF
    package = tmfun_pyg.nn if is_trained(name) else tmfun_pyg.baselines
    return getattr(package, "WithContent" if CONTENT in name else name)


def default_of(name: str, option: str) -> Any:
    """Returns the default of a model's option, or of the learning rate."""
    owner = RecommenderModule if option == "lr" else model_class(name)
    parameters = inspect.signature(owner).parameters
    if option not in parameters:
        raise ValueError(
            f"{name} has no option '{option}', only {', '.join(parameters)}"
        )
    return parameters[option].default


def options_of(
    args: argparse.Namespace, name: str
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Returns the options of a model that are fixed, and those that may be
    searched, with their defaults.
    """
    fixed = {key: value for model, key, value in args.set if model == name}
    if name.endswith(CONTENT):
        fixed = {"base": name.removesuffix(CONTENT), **fixed}
    free = {
        key: default_of(name, key)
        for key in SPACES.get(name, {})
        if key not in fixed
    }
    if "channels" in free and is_trained(name):
        free["channels"] = args.channels
    return fixed, free


def params_of(name: str, folder: Path) -> Dict[str, Any]:
    """Returns the parameters of the finished runs in a folder."""
    for path in sorted(folder.glob("seed_*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["model"] == name:
            return dict(run["params"])
    raise ValueError(
        f"'{folder}' must hold a finished run of {name} (got none): run "
        f"--models {name} first"
    )


def load_data(
    args: argparse.Namespace, name: str, split: Optional[BaseTransform] = None
) -> HeteroData:
    """Reads a data set, splits it further, and finds similar items."""
    if args.root is None:
        data = SyntheticMultimodal(seed=0)[0]
    else:
        data = MultimodalRecDataset(args.root, name, zero_rows="mask")[0]
    item = data["item"]
    found = [key[2:] for key in item.to_dict() if key.startswith("x_")]
    chosen = found if args.modalities is None else args.modalities
    if not set(chosen) <= set(found):
        raise ValueError(f"--modalities must be of {found} (got {chosen})")
    # The same order for all modalities, so that they stay together.
    order = torch.arange(item.num_nodes)
    if args.shuffle_features is not None:
        generator = torch.Generator().manual_seed(args.shuffle_features)
        order = torch.randperm(item.num_nodes, generator=generator)
    for name in found:
        for key in (f"x_{name}", f"mask_{name}"):
            if name not in chosen:
                item.pop(key, None)
            elif key in item:
                item[key] = item[key][order]
    data = data if split is None else split(data)
    return FeatureGraph(k=args.k)(data)

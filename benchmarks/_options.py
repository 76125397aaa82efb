"""What comparisons of models have in common: options, models and data."""

import argparse
import inspect
import json
import re
from pathlib import Path
from typing import Any, Dict, List, Tuple, Type

import torch
from torch_geometric.data import HeteroData

import tmfun_pyg.nn
from tmfun_pyg.baselines import ContentKNN, MostPopular
from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.nn import BPRMF, RankingModel
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.transforms import FeatureGraph

# What is searched for each model of tmfun_pyg.nn. A model's defaults are
# choices, too, and the first to be tried.
RATE = {"lr": [1e-3, 2e-3, 4e-3]}
LAYERS = {**RATE, "reg_weight": [1e-4, 1e-3], "num_layers": [2, 3, 4]}
CONTRAST = {**LAYERS, "contrastive_weight": [0.003, 0.01, 0.03, 0.1]}
SPACES: Dict[str, Dict[str, List[Any]]] = {
    "BPRMF": {**RATE, "reg_weight": [1e-4, 1e-3, 1e-2]},
    "LightGCN": LAYERS,
    "SimGCL": {**CONTRAST, "eps": [0.1, 0.2]},
    "VBPR": {**RATE, "reg_weight": [1e-4, 1e-3, 1e-2]},
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
# Nothing is trained here. The first has random embeddings.
UNTRAINED: Dict[str, Type[RankingModel]] = {
    "Random": BPRMF,
    "MostPopular": MostPopular,
    "ContentKNN": ContentKNN,
}
MODELS = [*UNTRAINED, *SPACES]


def add_arguments(parser: argparse.ArgumentParser, models: List[str]) -> None:
    """Adds the options of data, models and training."""
    add = parser.add_argument
    add("--root", help="folder of the data set (default: synthetic data)")
    add("--name", default="tiktok", help="name of the data set in --root")
    add("--modalities", nargs="+", help="the only ones to be used")
    add("--shuffle-features", type=int, metavar="SEED", help="among items")
    add("--k", type=int, default=10, help="neighbors in the feature graphs")
    add("--models", nargs="+", choices=MODELS, default=models, metavar="MODEL")
    add("--seeds", type=int, default=3, help="number of runs of each model")
    add("--set", action="append", default=[], type=fixed_option)
    add("--channels", type=int, default=64, help="size of the embeddings")
    add("--batch-size", type=int, default=2048, help="interactions")
    add("--epochs", type=int, default=500, help="at most")
    add("--patience", type=int, default=20, help="epochs without progress")
    add("--accelerator", default="auto", help="cpu, gpu, ... of Lightning")
    add("--keep", action="store_true", help="keep the best weights of runs")
    add("--out", type=Path, required=True, help="folder of the results")


def fixed_option(text: str) -> Tuple[str, str, Any]:
    """Reads MODEL.OPTION=JSON."""
    match = re.fullmatch(r"(\w+)\.(\w+)=(.+)", text)
    if match is None or match[1] not in SPACES:
        raise argparse.ArgumentTypeError(f"{text}: is not MODEL.OPTION=JSON")
    try:
        default_of(match[1], match[2])
        return match[1], match[2], json.loads(match[3])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def model_class(name: str) -> Type[RankingModel]:
    """Returns a model by its name."""
    return UNTRAINED.get(name) or getattr(tmfun_pyg.nn, name)


def default_of(name: str, option: str) -> Any:
    """Returns the default of a model's option, or of the learning rate."""
    owner = RecommenderModule if option == "lr" else model_class(name)
    parameters = inspect.signature(owner).parameters
    if option not in parameters:
        raise ValueError(
            f"{name} has no option '{option}', only {', '.join(parameters)}"
        )
    return parameters[option].default


def load_data(args: argparse.Namespace) -> HeteroData:
    """Reads the data set, and finds similar items."""
    if args.root is None:
        data = SyntheticMultimodal(seed=0)[0]
    else:
        data = MultimodalRecDataset(args.root, args.name, zero_rows="mask")[0]
    item = data["item"]
    found = [key[2:] for key in item.to_dict() if key.startswith("x_")]
    chosen = found if args.modalities is None else args.modalities
    if not set(chosen) <= set(found):
        raise ValueError(f"--modalities must be of {found} (got {chosen})")
    # The same order for all modalities, which keep belonging together.
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
    return FeatureGraph(k=args.k)(data)

"""The runs of a comparison: training, and one file per run."""

import argparse
import hashlib
import json
import logging
import shlex
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from _environment import describe_environment, find_commit
from _options import is_trained, model_class
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.training.callbacks import MONITOR
from tmfun_pyg.training.search import Plan, check_plan
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.files import atomic_write

SETTINGS = ("channels", "batch_size", "epochs", "patience", "accelerator")
SETTINGS += ("k", "shuffle_features")
# Largest change of the validation Recall@20 after restoring the weights:
TOLERANCE = 1e-3


def write_json(path: Path, content: Any) -> None:
    """Writes a file completely or not at all."""
    with atomic_write(path) as part:
        text = json.dumps(content, indent=2, default=str)
        part.write_text(text + "\n", encoding="utf-8")


def command_line() -> str:
    """Returns the command of this process, as called in the repository."""
    script, *args = sys.argv
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *args])


def describe(data: HeteroData, name: str) -> Dict[str, Any]:
    """Returns the sizes and hashes that identify a data set."""
    store = data["user", "interacts", "item"]
    splits = {
        "train": store.edge_index,
        "val": store.val_edge_label_index,
        "test": store.test_edge_label_index,
    }
    item = sorted(data["item"].to_dict().items())
    content = {k: v for k, v in item if k.startswith(("x_", "mask_"))}
    sizes = {k[2:]: v.size(1) for k, v in content.items() if v.dim() == 2}
    return {
        "name": name,
        "users": data["user"].num_nodes,
        "items": data["item"].num_nodes,
        **{split: index.size(1) for split, index in splits.items()},
        "modalities": sizes,
        "interactions_sha256": _fingerprint(list(splits.values())),
        "features_sha256": _fingerprint(list(content.values())),
    }


def _fingerprint(tensors: List[Tensor]) -> str:
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(repr((tensor.dtype, tensor.shape)).encode())
        state.update(tensor.contiguous().numpy())
    return state.hexdigest()[:16]


class Runs:
    """Runs of models on one data set, under one protocol.

    Args:
        args: The options of `add_arguments`.
        name: The name of the data set.
        data: The result of `load_data`.
        judge: Evaluates a trained model, returns entries for its result, and
            may write another file next to the given one.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        name: str,
        data: HeteroData,
        judge: Callable[[RankingModel, HeteroData, Path], Dict[str, Any]],
    ) -> None:
        find_commit()  # Now, since it may change during a run.
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        for message in (".*does not have many workers.*", ".*LeafSpec.*"):
            warnings.filterwarnings("ignore", message)
        self.args, self.judge = args, judge
        self.description = describe(data, name)
        self.data = ToRecGraph()(data)
        self.settings = {key: getattr(args, key) for key in SETTINGS}

    def plan(self, name: str, params: Dict[str, Any]) -> Plan:
        """Returns the settings shared by all runs of a model."""
        return {
            "model": name,
            "settings": self.settings,
            "data": self.description,
            "params": params,
        }

    def finish(
        self,
        folder: Path,
        name: str,
        params: Dict[str, Any],
        search: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Runs a model for the seeds that are not done yet."""
        plan = self.plan(name, params)
        for path in sorted(folder.glob("seed_*.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            check_plan(str(path), found, plan)
        is_drawn = is_trained(name) or name == "Random"
        num_runs = self.args.seeds if is_drawn else min(self.args.seeds, 1)
        for seed in range(num_runs):
            path = folder / f"seed_{seed}.json"
            if path.exists():
                continue
            start = time.perf_counter()
            weights = path.with_suffix("")
            model, course = self.train(name, params, seed, weights)
            seconds = time.perf_counter() - start
            course["val"] = evaluate(model, self.data, "val")
            value = course["val"]["recall@20"]
            if abs(value - course.get(MONITOR, value)) > TOLERANCE:
                raise RuntimeError(
                    f"{path}: the weights of the best epoch have a validation "
                    f"Recall@20 of {value}, which was {course[MONITOR]} in "
                    f"training: something is missing in the state_dict"
                )
            result = {
                **plan,
                "search": search or {},
                "seed": seed,
                **self.judge(model, self.data, path),
                **course,
                "seconds": seconds,
                "parameters": sum(p.numel() for p in model.parameters()),
                **describe_environment(),
                "command": command_line(),
            }
            write_json(path, result)  # The last file: the run is finished.
            print(f"{path}: {MONITOR} {value:.4f}", flush=True)

    def train(
        self,
        name: str,
        params: Dict[str, Any],
        seed: int,
        weights: Path,
        *callbacks: Callback,
    ) -> Tuple[RankingModel, Dict[str, Any]]:
        """Trains a model with early stopping, or fits it in closed form.

        Returns:
            The model with the weights of its best epoch on validation, and
            the course of its training.
        """
        args = self.args
        seed_everything(seed, verbose=False)
        if not is_trained(name):
            model = model_class(name).from_data(self.data, **params)
            model.fit(self.data)
            return model, {"best_epoch": None, "epochs": 0}
        shutil.rmtree(weights, ignore_errors=True)  # From a killed run.
        options = {"channels": args.channels, **params}
        lr = options.pop("lr")
        model = model_class(name).from_data(self.data, **options)
        module = RecommenderModule(model, self.data, lr=lr)
        stopping, checkpoint = default_callbacks(str(weights), args.patience)
        checkpoint.save_last = False
        checkpoint.save_weights_only = True
        trainer = Trainer(
            accelerator=args.accelerator,
            devices=1,
            max_epochs=args.epochs,
            callbacks=[stopping, checkpoint, *callbacks],
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        batches = InteractionDataModule(
            self.data, args.batch_size, seed=seed, val_users=None
        )
        trainer.fit(module, batches)
        best = torch.load(checkpoint.best_model_path, weights_only=True)
        module.load_state_dict(best["state_dict"])
        if not args.keep:
            shutil.rmtree(weights)
        return model.to(trainer.strategy.root_device), {
            "best_epoch": best["epoch"],
            "epochs": trainer.current_epoch,
            MONITOR: float(stopping.best_score),
        }

"""Seconds of one training epoch and of one full evaluation.

python benchmarks/epoch.py --root DIR --name sports --drawn 128 128

Where a data set comes without features, or with `--drawn`, features are drawn
at random: they serve for speed alone. LightGCN runs beside TMFUN, so that the
ratio holds on a noisy machine. With `--accelerator gpu` all of it takes place
on the GPU.
"""

import argparse
import resource
import tempfile
import time
import warnings

import torch
from lightning.pytorch import (
    Callback,
    LightningModule,
    Trainer,
    seed_everything,
)

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.nn import TMFUN, LightGCN, Recommender
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph


class Stopwatch(Callback):
    """Takes the time of every epoch and every evaluation."""

    def __init__(self) -> None:
        self.train: list = []
        self.evaluation: list = []

    def _now(self, module: LightningModule) -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        return time.perf_counter()

    def on_train_epoch_start(self, trainer, module) -> None:  # noqa: D102
        self._start = self._now(module)

    def on_validation_start(self, trainer, module) -> None:  # noqa: D102
        now = self._now(module)
        self.train.append(now - self._start)
        self._start = now

    def on_validation_end(self, trainer, module) -> None:  # noqa: D102
        self.evaluation.append(self._now(module) - self._start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--root", required=True)
    add("--name", default="sports")
    add("--drawn", type=int, nargs="*", help="sizes of drawn features")
    add("--batch-size", type=int, default=2048)
    add("--epochs", type=int, default=3, help="the fastest one counts")
    add("--accelerator", default="cpu")
    add("--precision", default="32-true")
    args = parser.parse_args()

    seed_everything(0, verbose=False)
    modalities = [] if args.drawn else None
    data = MultimodalRecDataset(args.root, args.name, modalities)[0]
    for i, size in enumerate(args.drawn or []):
        x = torch.randn(data["item"].num_nodes, size)
        data["item"][f"x_drawn{i}"] = x
    data = FeatureGraph()(data)

    device = "CPU"
    if args.accelerator != "cpu":
        device = torch.cuda.get_device_name()
    print(
        f"{args.name}: {data['user'].num_nodes} users, "
        f"{data['item'].num_nodes} items, "
        f"{data['user', 'interacts', 'item'].num_edges} interactions, batch "
        f"{args.batch_size}, {args.precision}, {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    seconds = {}
    for model_cls in (LightGCN, TMFUN):
        watch = run(model_cls.from_data(data), data, args)
        seconds[model_cls] = min(watch.train)
        print(
            f"{model_cls.__name__:<9} epoch {min(watch.train):7.2f} s, "
            f"full evaluation {min(watch.evaluation):6.2f} s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"TMFUN / LightGCN, epoch: {seconds[TMFUN] / seconds[LightGCN]:.2f}; "
        f"peak memory of the process {peak:.0f} MiB"
    )
    if args.accelerator != "cpu":
        print(f"GPU: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")


def run(
    model: Recommender, data: object, args: argparse.Namespace
) -> Stopwatch:
    """Trains for some epochs."""
    watch = Stopwatch()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # Of Lightning, about its defaults.
        Trainer(
            accelerator=args.accelerator,
            devices=1,
            precision=args.precision,
            max_epochs=args.epochs,
            callbacks=[watch],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        ).fit(
            RecommenderModule(model),
            InteractionDataModule(data, args.batch_size),
        )
    return watch


if __name__ == "__main__":
    main()

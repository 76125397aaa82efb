import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Dict, List, Optional, Sequence

import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch_geometric.data import HeteroData

from tmfun_pyg.cli.command import judge, show
from tmfun_pyg.cli.finished_run import best_epoch, run_of_config
from tmfun_pyg.cli.main import INTERRUPT
from tmfun_pyg.cli.progress import Progress
from tmfun_pyg.cli.training_options import (
    as_list,
    check_trainable,
    instantiate,
    make_parser,
    parse,
)
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    AtomicCheckpointIO,
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.training.callbacks import keep_last
from tmfun_pyg.training.checkpoint import Dataset, load_weights, read_checkpoint
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.locked import locked

# What stays as it was while a run goes on. The model and its data set are
# known to the checkpoint; all else may change.
KEPT = (
    *("data.modalities", "data.zero_rows", "data.k", "data.recall"),
    *("seed_everything", "lr", "loader.batch_size", "loader.num_negatives"),
    *("loader.num_neighbors", "loader.num_similar", "trainer.precision"),
    *("trainer.accumulate_grad_batches", "trainer.gradient_clip_val"),
    "trainer.gradient_clip_algorithm",
)


@dataclass
class RunOptions:
    """Where a run is kept.

    Args:
        out: The folder of the run, runs/DATA/MODEL/seed_N if not given.
        resume: Whether to go on with the run in the folder.
        on_all_data: Whether to train the model that is served, with the
            options of the finished run that --config is of, on its training,
            validation and test interactions, up to its best epoch.
    """

    out: Optional[str] = None
    resume: bool = False
    on_all_data: bool = False


class _AppendingLogger(CSVLogger):
    """Writes metrics.csv, each epoch at once, and goes on with one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder.parent, folder.name, "", flush_logs_every_n_steps=1
        )

    def keep(self, num_epochs: int) -> None:
        """Keeps the rows of the first epochs, of a run that goes on."""
        path = Path(self.log_dir, "metrics.csv")
        if not path.exists() or path.stat().st_size == 0:
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        columns = lines[0].split(",")
        place, end = columns.index("epoch"), 1
        for number, line in enumerate(lines[1:], start=2):
            epoch = line.split(",")[place]
            if epoch and int(epoch) < num_epochs:  # Some rows name none.
                end = number
        # Lightning removes the file when it begins.
        self.experiment.metrics_keys = columns
        with atomic_write(path) as part:
            part.write_text("\n".join([*lines[:end], ""]), encoding="utf-8")


def fit(args: List[str]) -> int:
    """Trains a model, and judges its best epoch on validation, if there is
    one.
    """
    parser = fit_parser()
    config = parse(parser, RunOptions, args)
    try:
        return _fit(parser, config)
    except MisconfigurationException as err:
        raise ValueError(err) from err


def fit_parser() -> ArgumentParser:
    """Returns a parser of the options of this command."""
    summary = "Trains a model, by default TMFUN on the synthetic data set."
    return make_parser("fit", summary, RunOptions)


def _fit(parser: ArgumentParser, config: Namespace) -> int:
    cls = resolve_name(config.model.class_path)
    if config.on_all_data and not config.resume:
        _take_epochs(parser, config)
    given = instantiate(parser, config)
    given.data.on_all_data = config.on_all_data
    seed = config.seed_everything
    if config.out is None:
        data_name = given.data.name or "synthetic"
        config.out = f"runs/{data_name}/{cls.__name__}/seed_{seed}"
    # A configuration is read from other folders than it was made in.
    folder = _moved(config).absolute()
    _check_folder(folder, config.resume)
    config.out = str(folder)
    config.data.root, config.data.name = given.data.root, given.data.name

    seed_everything(seed, workers=True)
    dataset = given.data.load()
    data = ToRecGraph()(dataset[0])
    options = config.model.get("init_args") or {}
    model = cls.from_data(data, **dict(options))
    kept = folder / ("last.ckpt" if config.on_all_data else "best.ckpt")
    if any(True for _ in model.parameters()):
        status = _train(parser, config, given, model, data, dataset)
        if status is not None:
            return status
    else:
        model.fit(data)
        _keep_config(parser, config, folder)
        Recommender(model, dataset, given.data).save(kept)

    recommender = Recommender.load(kept, dataset, cls)
    if config.on_all_data:
        print(
            f"\nThe run is in {folder}, trained on all interactions: nothing "
            f"is left to judge it by. Next:"
        )
        print(show("recommend", "--ckpt", kept, "--out", "lists.csv"))
        return 0
    is_trained = recommender.epoch is not None
    note = f", after epoch {recommender.epoch} as the best" * is_trained
    print(f"\nValidation{note}:")
    judge(recommender, "val", folder, best_epoch=recommender.epoch)
    print(f"\nThe run is in {folder}. Next:")
    print(show("test", "--ckpt", kept))
    return 0


def _train(
    parser: ArgumentParser,
    config: Namespace,
    given: Namespace,
    model: RankingModel,
    data: HeteroData,
    dataset: Dataset,
) -> Optional[int]:
    """Trains by gradient descent. Returns how it ended if there is no more to
    be done.
    """
    folder, seed = Path(config.out), config.seed_everything
    module = RecommenderModule(
        model, data, lr=config.lr, dataset=dataset, source=given.data
    )
    check_trainable(data, dataset)
    loader = InteractionDataModule(data, seed=seed, **dict(config.loader))
    logger = _AppendingLogger(folder)
    asked = given.trainer.as_dict()
    callbacks = default_callbacks(str(folder), config.patience)
    if config.on_all_data:
        callbacks = keep_last(str(folder))
        asked["limit_val_batches"] = 0
    for name, ours in (
        ("logger", [logger]),
        ("callbacks", [*callbacks, Progress()]),
        ("plugins", [AtomicCheckpointIO()]),
    ):
        asked[name] = [*ours, *as_list(asked[name])]
    trainer = Trainer(**asked)
    if not config.on_all_data:
        _check_trainer(trainer)
    resumed = None
    if config.resume:
        resumed = _find_resumed(folder, model, module.description)
    if resumed is not None:
        _check_options(parser, config, folder, KEPT, "go on with")
    with ExitStack() as stack:
        if trainer.is_global_zero and not config.trainer.fast_dev_run:
            stack.enter_context(locked(folder / "lock"))
            if resumed is not None:
                logger.keep(resumed + 1)
            _keep_config(parser, config, folder)
        try:
            last = None if resumed is None else folder / "last.ckpt"
            trainer.fit(module, loader, ckpt_path=last)
        except SystemExit:
            if not trainer.interrupted:
                raise
    if trainer.interrupted:
        return _tell_interrupted(folder)
    return 0 if config.trainer.fast_dev_run else None


def _keep_config(
    parser: ArgumentParser, config: Namespace, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parser.save(config, folder / "config.yaml", overwrite=True)


def _moved(config: Namespace) -> Path:
    """Returns where the run is: the folder of the configuration, if it is of
    a run that was moved and goes on.
    """
    for path in config.config or []:
        place, text = Path(str(path)), Path(str(path)).read_text("utf-8")
        is_run = config.resume and (place.parent / "last.ckpt").exists()
        if is_run and yaml.safe_load(text).get("out") == config.out:
            return place.parent
    return Path(config.out)


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder (got the file '{folder}')")
    runs = ("last.ckpt", "best.ckpt")
    if any((folder / name).exists() for name in runs) and not resume:
        raise ValueError(
            f"--out must be a folder without a run (got '{folder}'); pass "
            f"--resume to go on with its run"
        )


def _check_trainer(trainer: Trainer) -> None:
    """Refuses what would leave no best epoch."""
    for name in ("max_epochs", "limit_val_batches", "limit_train_batches"):
        if getattr(trainer, name) == 0:
            raise ValueError(
                f"--trainer.{name} must not be 0: the best epoch is chosen by "
                f"validation"
            )


def _find_resumed(
    folder: Path, model: RankingModel, description: Dict[str, Any]
) -> Optional[int]:
    """Returns the last finished epoch, after checking that its checkpoint is
    of the same model and data.
    """
    last = folder / "last.ckpt"
    if not last.exists():
        print(f"{folder}: no epoch is finished there, starting anew")
        return None
    checkpoint = read_checkpoint(last)
    for key, name in (
        ("model", "--model"),
        ("options", "the options of --model"),
        ("fingerprint", "the fingerprint of the data set"),
    ):
        found, own = checkpoint["recommender"][key], description["recommender"]
        if found != own[key]:
            raise ValueError(
                f"{name} must be {found} to go on with the run in '{folder}' "
                f"(got {own[key]})"
            )
    load_weights(checkpoint, model)  # Now, not once training has begun.
    print(f"Going on after epoch {checkpoint['epoch']} of {folder}")
    return int(checkpoint["epoch"])


def _take_epochs(parser: ArgumentParser, config: Namespace) -> None:
    """Takes the number of epochs from the run that the options are of."""
    run = run_of_config(config)
    epoch = best_epoch(run)
    kept = ("model", "trainer.max_epochs", *KEPT)
    _check_options(parser, config, run, kept, "repeat")
    if epoch is not None:
        config.trainer.max_epochs = epoch + 1


def _check_options(
    parser: ArgumentParser,
    config: Namespace,
    folder: Path,
    kept: Sequence[str],
    purpose: str,
) -> None:
    """Refuses options that must be those of a run."""
    path = folder / "config.yaml"
    if not path.exists():
        return
    now, then = (
        yaml.safe_load(text)
        for text in (parser.dump(config), path.read_text(encoding="utf-8"))
    )
    for key in kept:
        found, own = (
            reduce(lambda part, name: (part or {}).get(name), key.split("."), x)
            for x in (now, then)
        )
        if found != own:
            raise ValueError(
                f"--{key} must be {own} to {purpose} the run in '{folder}' "
                f"(got {found})"
            )


def _tell_interrupted(folder: Path) -> int:
    text = "interrupted in the first epoch: there is nothing to keep yet"
    if (folder / "last.ckpt").exists():
        again = ("--config", folder / "config.yaml", "--resume")
        text = (
            f"interrupted: the last finished epoch is {folder}/last.ckpt, to "
            f"go on:\n{show('fit', *again)}"
        )
    print(f"\ntmfun fit: {text}", file=sys.stderr)
    return INTERRUPT

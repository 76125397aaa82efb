import gc
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from tmfun_pyg.cli.command import judge, show
from tmfun_pyg.cli.finished_run import (
    check_repeats,
    read_finished,
    run_of_config,
)
from tmfun_pyg.cli.forecast import Forecast
from tmfun_pyg.cli.kept_options import MAY_CHANGE, check_options
from tmfun_pyg.cli.progress import Progress
from tmfun_pyg.cli.resume import check_state, read_last
from tmfun_pyg.cli.run_folder import (
    BEST,
    CONFIG,
    LAST,
    LOG,
    check_apart,
    check_folder,
    find_folder,
    own_folder,
)
from tmfun_pyg.cli.run_log import Begin, RunLog
from tmfun_pyg.cli.signals import INTERRUPT
from tmfun_pyg.cli.training_options import (
    ARGUMENTS,  # noqa: F401 (for errors, see main)
    as_list,
    check_trainable,
    check_trainer,
    instantiate,
    make_loader,
    make_model,
    make_parser,
    make_trainer,
    parse,
    warn_of_unread,
)
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    AtomicCheckpointIO,
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.training.callbacks import keep_last
from tmfun_pyg.training.checkpoint import Dataset
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.files import atomic_write


@dataclass
class RunOptions:
    """Where a run is kept.

    Args:
        out: The folder of the run, runs/DATA/MODEL/seed_N if not given.
        resume: Whether to continue the run in the folder.
        on_all_data: Whether to train the model to serve, with the options of
            the finished run that --config belongs to, on training, validation
            and test interactions, for as many epochs as its best checkpoint
            took.
    """

    out: Optional[str] = None
    resume: bool = False
    on_all_data: bool = False


def fit(args: List[str]) -> int:
    """Trains a model, and evaluates its best epoch on validation, if there is
    one.
    """
    parser = fit_parser()
    config = parse(parser, RunOptions, args)
    try:
        return _fit(parser, config)
    except MisconfigurationException as err:
        raise ValueError(err) from err


def fit_parser() -> ArgumentParser:
    """Returns a parser for the options of this command."""
    summary = "Trains a model, by default TMFUN on the synthetic data set."
    return make_parser("fit", summary, RunOptions)


def _fit(parser: ArgumentParser, config: Namespace) -> int:
    check_trainer(config)
    given = instantiate(parser, config)
    cls = resolve_name(config.model.class_path)
    given.data.on_all_data = config.on_all_data
    given.data.feature_graphs = cls.reads_feature_graphs
    place = f"{given.data.name or 'synthetic'}/{cls.__name__}"
    # A configuration may be read from a different working directory.
    folder = find_folder(config, f"runs/{place}/seed_{config.seed_everything}")
    config.out = str(folder)
    config.data.root, config.data.name = given.data.root, given.data.name
    with ExitStack() as stack:
        process: Any = rank_zero_only
        if process.rank == 0:  # It owns the folder for all processes.
            own = own_folder(folder, (LAST, BEST), (CONFIG, LOG))
            stack.enter_context(own)
        return _fit_in(folder, parser, config, given)


def _fit_in(
    folder: Path, parser: ArgumentParser, config: Namespace, given: Namespace
) -> int:
    goes_on = check_folder(folder, config.resume)
    if goes_on:
        check_options(parser, config, folder, "go on with")
    elif config.on_all_data:
        _take_epochs(parser, config, given.data)
        given.trainer.max_epochs = config.trainer.max_epochs
    seed_everything(config.seed_everything, workers=True)
    dataset = given.data.load()
    check_apart(folder, dataset)
    cls = resolve_name(config.model.class_path)
    kept = folder / (LAST if config.on_all_data else BEST)
    status, users = _make_checkpoint(
        dataset, cls, kept, parser, config, given, goes_on
    )
    if status is not None:
        return status
    gc.collect()  # Trainer and module refer to each other, and are large.

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
    if users is not None:
        note += ", on a sample of users (tmfun validate ranks for all)"
    print(f"\nValidation{note}:")
    judge(recommender, "val", folder, is_best=True, users=users)
    print(f"\nThe run is in {folder}. Next:")
    print(show("test", "--ckpt", kept))
    return 0


def _make_checkpoint(
    dataset: Dataset,
    cls: Type[RankingModel],
    kept: Path,
    parser: ArgumentParser,
    config: Namespace,
    given: Namespace,
    goes_on: bool,
) -> Tuple[Optional[int], Optional[Tensor]]:
    """Trains or fits, and writes the checkpoint to evaluate. Returns the exit
    status if the run ends here, and otherwise the sample of users that
    validation ranked for, if any.
    """
    folder = kept.parent
    data = ToRecGraph()(dataset[0])
    model = make_model(cls, data, dict(config.model.get("init_args") or {}))
    loader = make_loader(config, data)
    module = RecommenderModule(
        model, data, lr=config.lr, dataset=dataset, source=given.data
    )
    last = read_last(folder, module.description) if goes_on else None

    def save_config() -> None:
        saved = config.clone()
        saved.resume = False  # Never saved: passed each time.
        with atomic_write(folder / CONFIG) as part:
            parser.save(saved, part, overwrite=True)

    status = None
    if next(model.parameters(), None) is None:
        warn_of_unread(parser, config, model)
        model.fit(data)
        if config.trainer.fast_dev_run:  # Writes nothing.
            return 0, None
        Recommender(model, dataset, given.data).save(kept)
        save_config()
    else:
        check_trainable(config, model, data, dataset)
        status = _train(
            config, given, folder, module, loader, last, save_config
        )
        if status is None and not kept.exists():
            raise ValueError(
                "no epoch was finished and validated, so there is no best one: "
                "training must last longer, see --trainer.max_epochs, "
                "--trainer.max_steps, --trainer.max_time and "
                "--trainer.limit_train_batches"
            )
    is_judged = status is None and not config.on_all_data
    return status, loader.val_sample if is_judged else None


def _train(
    config: Namespace,
    given: Namespace,
    folder: Path,
    module: RecommenderModule,
    loader: InteractionDataModule,
    last: Optional[Dict[str, Any]],
    save_config: Callable[[], None],
) -> Optional[int]:
    """Trains by gradient descent. Returns the exit status if the run ends
    here.
    """
    log = RunLog(folder, 0 if last is None else last["epoch"] + 1)
    asked = given.trainer.as_dict()
    callbacks = default_callbacks(str(folder), config.patience)
    if config.on_all_data:
        callbacks = keep_last(str(folder))
        asked["limit_val_batches"] = 0
    progress = Progress()
    callbacks += [Forecast(progress, loader), progress]
    if not config.trainer.fast_dev_run:  # Writes nothing.
        callbacks += [Begin(log, save_config)]
    for name, ours in (
        ("logger", [log]),
        ("callbacks", callbacks),
        ("plugins", [AtomicCheckpointIO()]),
    ):
        asked[name] = [*ours, *as_list(asked[name])]
    trainer = make_trainer(asked)
    if last is not None:
        check_state(last, folder, module, trainer)
        print(f"Going on after epoch {last['epoch']} of {folder}")
    try:
        path = None if last is None else folder / LAST
        trainer.fit(module, loader, ckpt_path=path)
    except SystemExit:
        if not trainer.interrupted:
            raise
    if trainer.interrupted:
        return _tell_interrupted(folder)
    num_done = trainer.fit_loop.epoch_loop.batch_progress.total.completed
    is_part = num_done < trainer.num_training_batches
    if is_part and last is None and trainer.is_global_zero:
        # It is from a part of the first epoch, and cannot be resumed.
        (folder / LAST).unlink(missing_ok=True)
    is_done = config.trainer.fast_dev_run or not trainer.is_global_zero
    return 0 if is_done else None


def _take_epochs(
    parser: ArgumentParser, config: Namespace, data: DatasetOptions
) -> None:
    """Takes the number of epochs from the run that the options belong to."""
    run = run_of_config(config)
    finished = read_finished(run)
    others = MAY_CHANGE - {"model", "trainer.max_epochs"} | {"on_all_data"}
    check_options(parser, config, run, "repeat", others)
    check_repeats(finished, config.model, data)
    if finished["epoch"] is not None:
        config.trainer.max_epochs = finished["epoch"] + 1


def _tell_interrupted(folder: Path) -> int:
    text = "interrupted in the first epoch: there is nothing to keep yet"
    if (folder / BEST).exists():
        text = (
            f"interrupted in the first epoch, which has nothing to go on from: "
            f"the best so far is {folder / BEST}"
        )
    if (folder / LAST).exists():
        again = ("--config", folder / CONFIG, "--resume")
        text = (
            f"interrupted: the last finished epoch is {folder / LAST}, to "
            f"go on:\n{show('fit', *again)}"
        )
    print(f"\ntmfun fit: {text}", file=sys.stderr)
    return INTERRUPT

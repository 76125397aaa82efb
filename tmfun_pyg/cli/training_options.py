"""The options of the commands that train: data, model, batches and trainer,
from the command line and from files.
"""

import inspect
import re
import warnings
from dataclasses import dataclass
from math import inf
from typing import Any, Dict, List, Type

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from lightning.pytorch import Trainer
from torch_geometric.data import HeteroData

from tmfun_pyg.cli.command import switch_on
from tmfun_pyg.cli.help_formatter import HelpFormatter
from tmfun_pyg.cli.options import (
    OptionError,
    model_names,
    no_model,
    parse_options,
    why_not_made,
)
from tmfun_pyg.loader.negative_sampler import check_negatives
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training import DatasetOptions, InteractionDataModule
from tmfun_pyg.training.checkpoint import Dataset
from tmfun_pyg.utils.messages import check_at_least, check_positive

# Arguments of models that come from the data set:
SIZES = {"num_users", "num_items", "in_channels"}
# Options of the trainer that do not affect the result:
OUTPUT = {"enable_progress_bar", "enable_model_summary", "log_every_n_steps"}
OUTPUT |= {"logger", "enable_checkpointing", "default_root_dir", "profiler"}
# Arguments that errors name as in Python, and their options here:
ARGUMENTS = {
    name: f"--loader.{name}"
    for name in inspect.signature(InteractionDataModule).parameters
    if name not in ("data", "seed")
} | {"k": "--data.k", "recall": "--data.recall"}
TITLES = {"data": "data set", "model": "model", "loader": "batches"}


@dataclass
class TrainingOptions:
    """How a model is trained.

    Args:
        seed_everything: The seed of weights, batches and negatives.
        lr: The learning rate.
        patience: The number of validations (by default one per epoch) without
            a better Recall@20 before training stops. Those in the first
            PATIENCE epochs do not count.
    """

    seed_everything: int = 0
    lr: float = 2e-3
    patience: int = 20


def make_parser(command: str, summary: str, own: Type[Any]) -> ArgumentParser:
    """Returns a parser for all options.

    Args:
        command: The command.
        summary: Its description.
        own: A dataclass of the options that only this command has.
    """
    parser = ArgumentParser(
        prog=f"tmfun {command}",
        usage=f"tmfun {command} [--config FILE] [--data.root DIR] "
        f"[--model NAME] ...",
        description=summary,
        epilog="--trainer.NAME is an argument of lightning.pytorch.Trainer, "
        "such as --trainer.max_epochs, --trainer.accelerator, "
        "--trainer.devices and --trainer.precision.",
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    parser.add_class_arguments(TrainingOptions)
    parser.add_class_arguments(own)
    parser.add_class_arguments(
        DatasetOptions, "data", skip={"on_all_data", "feature_graphs"}
    )
    parser.add_subclass_arguments(
        RankingModel, "model", skip=SIZES, metavar="MODEL"
    )
    skip = {"data", "seed"}
    parser.add_class_arguments(
        InteractionDataModule, "loader", skip=skip, instantiate=False
    )
    parser.add_class_arguments(
        Trainer, "trainer", fail_untyped=False, instantiate=False
    )
    for name, group in (parser.groups or {}).items():
        group.title = TITLES.get(name, group.title)
    parser.set_defaults(
        {
            "model": {"class_path": "tmfun_pyg.nn.TMFUN"},
            "trainer.max_epochs": 500,
            "trainer.devices": 1,
            "trainer.log_every_n_steps": 1,
            "trainer.enable_model_summary": False,
            "trainer.enable_progress_bar": False,
        }
    )
    return parser


def parse(parser: ArgumentParser, own: Type[Any], args: List[str]) -> Namespace:
    """Parses the options.

    Args:
        parser: The result of :func:`make_parser`.
        own: The same as there.
        args: The options as given.
    """
    words = switch_on(args, own)
    asked = [x for x in words if not x.startswith("--print_config")]
    # A class would inherit the defaults of the default class for options with
    # the same name. So the requested class becomes the default.
    class_path = parse_options(parser, asked).model.class_path
    package, _, name = class_path.rpartition(".")
    if package.startswith("tmfun_pyg.") and name not in model_names():
        raise OptionError(no_model(name))  # A base class.
    parser.set_defaults({"model": {"class_path": class_path}})
    config = parse_options(parser, words)
    check_positive("lr", config.lr)
    check_at_least("seed_everything", config.seed_everything, 0, 2**32 - 1)
    batch_size, val_users = config.loader.batch_size, config.loader.val_users
    for name, value, least in (
        ("patience", config.patience, 0),
        ("loader.batch_size", 1 if batch_size == "auto" else batch_size, 1),
        ("loader.num_negatives", config.loader.num_negatives, 1),
        ("loader.num_workers", config.loader.num_workers, 0),
        ("loader.val_users", 1 if val_users is None else val_users, 1),
    ):
        check_at_least(name, value, least)
    num_similar = parser.get_defaults().loader.num_similar
    is_whole = config.loader.num_neighbors is None
    if is_whole and config.loader.num_similar != num_similar:
        warnings.warn(
            "--loader.num_similar has no effect without --loader.num_neighbors",
            stacklevel=2,
        )
    return config


def instantiate(parser: ArgumentParser, config: Namespace) -> Namespace:
    """Creates all objects except the model, which needs the data set first."""
    others = config.clone()
    others.model = None
    try:
        return parser.instantiate_classes(others)
    except ValueError as err:
        reason = why_not_made(str(err))
        if reason is None:
            raise
        raise ValueError(reason) from err


def check_trainer(config: Namespace) -> None:
    """Checks that training will have a best epoch.

    Args:
        config: The options.
    """
    asked = config.trainer
    for name in ("max_epochs", "limit_val_batches", "limit_train_batches"):
        if asked[name] == 0:
            raise ValueError(
                f"--trainer.{name} must not be 0: the best epoch is chosen by "
                f"validation"
            )
    if asked.overfit_batches:
        raise ValueError(
            f"--trainer.overfit_batches must be 0 (got "
            f"{asked.overfit_batches}): it takes the place of what draws "
            f"batches"
        )
    name = "trainer.accumulate_grad_batches"
    check_at_least(name, asked.accumulate_grad_batches, 1)
    if asked.gradient_clip_val is not None:
        name = "trainer.gradient_clip_val"
        check_at_least(name, asked.gradient_clip_val, 0)
    if asked.val_check_interval == 0:
        raise ValueError("--trainer.val_check_interval must be above 0 (got 0)")
    if asked.check_val_every_n_epoch is not None:
        most = asked.max_epochs if (asked.max_epochs or -1) > 0 else inf
        name = "trainer.check_val_every_n_epoch"
        check_at_least(name, asked.check_val_every_n_epoch, 1, most)


def check_trainable(
    config: Namespace, model: RankingModel, data: HeteroData, dataset: Dataset
) -> None:
    """Checks that a model can be trained, before training begins.

    Args:
        config: The options.
        model: The model.
        data: The graph.
        dataset: The data set, for the raw id of a user without a negative
            item.
    """
    is_sparse = any(getattr(x, "sparse", False) for x in model.modules())
    if is_sparse and config.loader.num_neighbors is None:
        raise ValueError(
            "--model.sparse true must come with --loader.num_neighbors: only "
            "sampled neighborhoods make sparse gradients"
        )
    num_items = int((data["item"].degree > 0).sum())
    check_negatives(data["user"].degree, num_items, dataset.user_ids)


def warn_of_unread(
    parser: ArgumentParser, config: Namespace, model: RankingModel
) -> None:
    """Warns of options without effect on a model that has no weights to train.

    Args:
        parser: The result of :func:`make_parser`.
        config: The options.
        model: The model.
    """
    read = OUTPUT | {"val_users", "fast_dev_run"}
    defaults = parser.get_defaults()
    unread = [x for x in ("lr", "patience") if config[x] != defaults[x]]
    for group in ("loader", "trainer"):
        known = defaults[group].as_dict()
        for name, value in config[group].as_dict().items():
            if name not in read and value != known[name]:
                unread.append(f"{group}.{name}")
    if unread:
        verb = "has" if len(unread) == 1 else "have"
        warnings.warn(
            f"{type(model).__name__} is not trained by gradient descent: "
            f"{', '.join(f'--{x}' for x in unread)} {verb} no effect",
            stacklevel=2,
        )


def make_trainer(asked: Dict[str, Any]) -> Trainer:
    """Creates a trainer, or explains in one line why it cannot be created.

    Args:
        asked: The arguments of the trainer.
    """
    try:
        return Trainer(**asked)
    except TypeError as err:
        raise ValueError(
            f"a --trainer option has a value of the wrong type: {err}"
        ) from err


def make_model(
    cls: Type[RankingModel], data: HeteroData, options: Dict[str, Any]
) -> RankingModel:
    """Creates a model. Errors name the options of the command line.

    Args:
        cls: The class of the model.
        data: The graph.
        options: The options of the model.
    """
    try:
        return cls.from_data(data, **options)
    except (TypeError, ValueError) as err:
        raise ValueError(_in_options(str(err), cls)) from err


def make_loader(config: Namespace, data: HeteroData) -> InteractionDataModule:
    """Returns the data module that makes batches.

    Args:
        config: The options.
        data: The graph.
    """
    return InteractionDataModule(
        data, seed=config.seed_everything, **dict(config.loader)
    )


def _in_options(text: str, cls: Type[RankingModel]) -> str:
    """Replaces the arguments of a model by options. The text after "(got" is
    left as it is: a value may look like an argument.
    """
    said, got, found = text.partition(" (got ")
    names = inspect.signature(cls).parameters.keys() - SIZES
    said = re.sub(
        r"(?<!be )(?<!or )'(\w+)'",  # After these words come values.
        lambda x: f"--model.{x[1]}" if x[1] in names else x[0],
        said,
    )
    return f"{said}{got}{found}"


def as_list(asked: Any) -> List[Any]:
    """Returns a list for an option that may be one, several or a switch."""
    values = asked if isinstance(asked, list) else [asked]
    return [x for x in values if not isinstance(x, (bool, type(None)))]

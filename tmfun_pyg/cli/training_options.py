"""The options of the commands that train: those of data, model, batches and
trainer, from the command line and from files.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, List, Type

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from lightning.pytorch import Trainer

from tmfun_pyg.cli.command import switch_on
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training import DatasetOptions, InteractionDataModule

# Arguments of models that are read from the data set:
SIZES = {"num_users", "num_items", "in_channels"}


@dataclass
class TrainingOptions:
    """How a model is trained.

    Args:
        seed_everything: The seed of weights, order and negatives.
        lr: The learning rate.
        patience: Epochs without a better validation Recall@20 to stop after.
    """

    seed_everything: int = 0
    lr: float = 2e-3
    patience: int = 20


def make_parser(command: str, summary: str, own: Type[Any]) -> ArgumentParser:
    """Returns a parser of all options.

    Args:
        command: The command.
        summary: What it does.
        own: A dataclass of the options that this command alone has.
    """
    parser = ArgumentParser(
        prog=f"tmfun {command}",
        usage=f"tmfun {command} [--config FILE] [--data.root DIR] "
        f"[--model NAME] ...",
        description=summary,
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    parser.add_class_arguments(TrainingOptions)
    parser.add_class_arguments(own)
    parser.add_class_arguments(DatasetOptions, "data", skip={"on_all_data"})
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
    parser.set_defaults(
        {
            "model": {"class_path": "tmfun_pyg.nn.TMFUN"},
            "trainer.max_epochs": 500,
            "trainer.devices": 1,
            "trainer.log_every_n_steps": 1,
            "trainer.enable_model_summary": False,
        }
    )
    return parser


def parse(parser: ArgumentParser, own: Type[Any], args: List[str]) -> Namespace:
    """Reads the options.

    Args:
        parser: What :func:`make_parser` returns.
        own: The same as there.
        args: The options as they were given.
    """
    words = switch_on(_find_configs(args), own)
    asked = [x for x in words if not x.startswith("--print_config")]
    # A class would get the defaults of the default class, where options have
    # the same name. So the class that is asked for becomes the default.
    class_path = parser.parse_args(asked).model.class_path
    parser.set_defaults({"model": {"class_path": class_path}})
    return parser.parse_args(words)


def instantiate(parser: ArgumentParser, config: Namespace) -> Namespace:
    """Makes all objects but the model, which can't be made ahead of its data
    set.
    """
    others = config.clone()
    others.model = None
    return parser.instantiate_classes(others)


def as_list(asked: Any) -> List[Any]:
    """Returns what was asked for of what may be one, several or a switch."""
    values = asked if isinstance(asked, list) else [asked]
    return [x for x in values if not isinstance(x, (bool, type(None)))]


def _find_configs(args: List[str]) -> List[str]:
    """Takes a name for the configuration of that name in the package."""
    folder = Path(str(files("tmfun_pyg.configs")))
    shipped = {path.stem: str(path) for path in folder.glob("*.yaml")}
    words = list(args)
    for place, word in enumerate(words[:-1], start=1):
        name = words[place]
        if word in ("-c", "--config") and not Path(name).exists():
            if name not in shipped:
                raise ValueError(
                    f"--config must be an existing file or one of "
                    f"{', '.join(sorted(shipped))} (got '{name}')"
                )
            words[place] = shipped[name]
    return words

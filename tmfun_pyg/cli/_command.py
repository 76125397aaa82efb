"""What commands share."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from jsonargparse import ActionConfigFile, ArgumentParser

from tmfun_pyg.training import LoadedCheckpoint, load_checkpoint
from tmfun_pyg.training.checkpoint import read_checkpoint
from tmfun_pyg.training.dataset_options import DatasetOptions
from tmfun_pyg.utils.files import atomic_write

COLUMNS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")  # Of tables.


def run(
    name: str,
    function: Callable[..., None],
    args: List[str],
    several: Optional[Dict[str, str]] = None,
) -> None:
    """Calls a function with the options of a command.

    Args:
        name: The command.
        function: What it does, with a docstring that tells its arguments.
        args: The options as they were given.
        several: Arguments that take several values, and their help texts.
    """
    several = several or {}
    summary = (inspect.getdoc(function) or "").partition("\n\n")[0]
    parser = ArgumentParser(prog=f"tmfun {name}", description=summary)
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    parser.add_function_arguments(function, skip=set(several))
    for option, text in several.items():
        parser.add_argument(f"--{option}", nargs="+", help=text)
    options = parser.instantiate_classes(parser.parse_args(args)).as_dict()
    options.pop("config", None)
    function(**options)


def load(
    ckpt: Path, root: Optional[str] = None, name: Optional[str] = None
) -> LoadedCheckpoint:
    """Loads a checkpoint with the data set it was made with, which may have
    been moved, to where there is an accelerator.
    """
    dataset = None
    if root is not None:
        source = read_checkpoint(ckpt)["recommender"]["source"]
        options = DatasetOptions(**(source or {}))
        dataset = replace(options, root=root, name=name).load()
    loaded = load_checkpoint(ckpt, dataset)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return loaded._replace(model=loaded.model.to(device))


def print_metrics(
    rows: Dict[str, Dict[str, Any]], columns: Sequence[str] = COLUMNS
) -> None:
    """Prints a table of metrics, a line for each of some names."""
    width = max(map(len, rows)) + 2
    print(" " * width + "".join(f"{column:>11}" for column in columns))
    for name, metrics in rows.items():
        cells = "".join(f"{metrics[column]:>11.4f}" for column in columns)
        print(f"{name:<{width}}{cells}")


def write_metrics(path: Path, content: Dict[str, Any]) -> None:
    """Adds entries to a file of metrics."""
    known = {}
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
    with atomic_write(path) as part:
        text = json.dumps({**known, **content}, indent=2)
        part.write_text(text + "\n", encoding="utf-8")

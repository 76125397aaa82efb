"""Code shared by the commands."""

import inspect
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from jsonargparse import ActionConfigFile, ArgumentParser
from torch import Tensor

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.cli.help_formatter import HelpFormatter
from tmfun_pyg.cli.options import parse_options
from tmfun_pyg.cli.run_folder import METRICS
from tmfun_pyg.cli.written_files import check_kept, check_written
from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.evaluation.list_metrics import LIST_METRICS
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import DatasetOptions
from tmfun_pyg.training.checkpoint import read_checkpoint
from tmfun_pyg.utils.files import atomic_write

# The columns of tables:
COLUMNS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
OF_LISTS = tuple(f"{name}@20" for name in LIST_METRICS)


def run(
    name: str,
    function: Callable[..., None],
    args: List[str],
    several: Dict[str, str],
) -> None:
    """Calls a function with the options of a command. A function with the
    argument ``recommender`` gets that of a checkpoint, see :func:`load`; one
    that also has ``ckpt`` gets its path.

    Args:
        name: The command.
        function: Its function, whose docstring describes the arguments.
        args: The options as given.
        several: Arguments that take several values, and their help texts.
    """
    parser = make_parser(name, function, several)
    words = switch_on(args, function)
    options = parser.instantiate_classes(parse_options(parser, words)).as_dict()
    check_written(options)
    options.pop("config", None)
    asked = inspect.signature(function).parameters
    if "recommender" in asked:
        where = {key: options.pop(key) for key in ("ckpt", "root", "name")}
        options["recommender"] = load(**where)
        dataset = options["recommender"].dataset
        if isinstance(dataset, MultimodalRecDataset):
            files = map(str, Path(dataset.raw_dir).iterdir())
            check_kept(options, files, "data set")
        if "ckpt" in asked:
            options["ckpt"] = where["ckpt"]
    function(**options)


def make_parser(
    name: str, function: Callable[..., None], several: Dict[str, str]
) -> ArgumentParser:
    """Returns a parser of the options of a command, see :func:`run`."""
    summary = (inspect.getdoc(function) or "").partition("\n\n")[0]
    parser = ArgumentParser(
        prog=f"tmfun {name}",
        description=summary,
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    asked = inspect.signature(function).parameters
    if "recommender" in asked:
        parser.add_function_arguments(load)
    parser.add_function_arguments(
        function, skip={"recommender", "ckpt", *several}
    )
    for key, group in (parser.groups or {}).items():
        group.title = "trained model" if key == "load" else "arguments"
    for option, text in several.items():
        parser.add_argument(f"--{option}", nargs="+", help=text)
    return parser


def switch_on(args: List[str], function: Callable[..., Any]) -> List[str]:
    """Sets a switch without a value, such as --overwrite, to true."""
    asked = inspect.signature(function).parameters.values()
    switches = {f"--{x.name}" for x in asked if x.annotation is bool}
    return [
        f"{word}=true" if word in switches and after[:1] in ("", "-") else word
        for word, after in zip(args, [*args[1:], ""], strict=False)
    ]


def load(
    ckpt: Path, root: Optional[str] = None, name: Optional[str] = None
) -> Recommender:
    """Loads a checkpoint with its data set, onto the GPU if there is one.

    Args:
        ckpt: The checkpoint.
        root: The root directory of the data set, if it was moved.
        name: The name of the data set, if it was moved.
    """
    dataset = None
    if name is not None and root is None:
        raise ValueError("--name must come with --root")
    if root is not None:
        about = read_checkpoint(ckpt)["recommender"]
        # Without a source, rows of zeros mean that the modality is missing.
        k = about["graph_k"] or DatasetOptions.k
        source = about["source"] or {"zero_rows": "mask", "k": k}
        dataset = DatasetOptions(
            **{**source, "root": root, "name": name}
        ).load()
    recommender = Recommender.load(ckpt, dataset)
    if torch.cuda.is_available():
        recommender.model.cuda()
    return recommender


def with_options(
    recommender: Recommender, **options: Optional[str]
) -> Recommender:
    """Returns a recommender with the given options replaced.

    Args:
        recommender: The recommender of the checkpoint.
        options: The options, None to keep the value of the checkpoint.
    """
    given: Dict[str, Any] = {
        key: value for key, value in options.items() if value is not None
    }
    return replace(recommender, **given)


def show(*words: Any) -> str:
    """Returns a command as a line for a shell. Paths must be absolute, so that
    it works in any folder.
    """
    return f"  {shlex.join(['tmfun', *map(str, words)])}"


def judge(
    recommender: Recommender,
    split: str,
    folder: Path,
    is_best: bool = False,
    beyond_accuracy: bool = False,
    users: Optional[Tensor] = None,
) -> None:
    """Ranks all items for every user of a split, prints the metrics next to
    those of most-popular and the number of users, and adds them to
    metrics.json, unless that file belongs to another epoch, the best of a run.
    For a sample of users, metrics.json also holds its size.

    Args:
        recommender: The model and its data set.
        split: The split.
        folder: The folder of metrics.json.
        is_best: Whether the model is from the best epoch of the run there.
        beyond_accuracy: Whether to also report what the lists look like.
        users: The users to evaluate, all if not given.
    """
    path, known = folder / METRICS, read_metrics(folder)
    epoch = recommender.epoch
    is_of_other = known.get("best_epoch", epoch) != epoch
    data = recommender.data
    lists: Dict[str, Any] = {"beyond_accuracy": beyond_accuracy}
    if users is None:
        metrics = recommender.evaluate(split, **lists)
    else:
        metrics = evaluate(
            recommender.scorer, data, split, users=users, **lists
        )
    popular = evaluate(
        MostPopular.from_data(data), data, split, users=users, **lists
    )
    rows = {"most-popular": popular, type(recommender.model).__name__: metrics}
    corner = f"{HeldOutDataset(data, split).num_users:,} users"
    if users is not None:
        corner = f"{users.numel():,} of {corner}"
    for columns in (COLUMNS, OF_LISTS) if beyond_accuracy else (COLUMNS,):
        _print_table(corner, rows, columns)
    if is_of_other and not is_best:
        print(
            f"Not written into {path}, which is of epoch {known['best_epoch']}"
        )
        return
    key = "best_epoch" if is_best or "best_epoch" in known else "epoch"
    if (is_best and key not in known) or known.get(key, epoch) != epoch:
        known = {}  # Metrics of another epoch must not mix with these.
    if users is not None and split in known and f"{split}_users" not in known:
        return  # The metrics there are on all users.
    known.pop(f"{split}_users", None)
    own = {} if users is None else {f"{split}_users": users.numel()}
    text = json.dumps({**known, split: metrics, **own, key: epoch}, indent=2)
    try:
        with atomic_write(path) as part:
            part.write_text(text + "\n", encoding="utf-8")
    except OSError as err:
        raise OSError(f"{err}; the metrics above are not kept") from err


def _print_table(
    corner: str, rows: Dict[str, Dict[str, float]], columns: Sequence[str]
) -> None:
    """Prints the columns that all rows have."""
    known = [c for c in columns if all(c in values for values in rows.values())]
    lines = {corner: known}
    for name, values in rows.items():
        lines[name] = [f"{values[column]:.4f}" for column in known]
    width = max(map(len, lines)) + 2
    for name, cells in lines.items():
        shown = (
            f"{cell:>{max(len(column) + 1, 11)}}"
            for column, cell in zip(known, cells, strict=True)
        )
        print(f"{name:<{width}}{''.join(shown)}")


def read_metrics(folder: Path) -> Dict[str, Any]:
    """Returns the content of metrics.json in the folder of a run, empty if
    there is none.

    Args:
        folder: The folder.
    """
    path = folder / METRICS
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ValueError(f"'{path}' must be JSON ({err})") from err
    if not isinstance(content, dict):
        raise ValueError(
            f"'{path}' must hold metrics by split (got a "
            f"{type(content).__name__})"
        )
    return content

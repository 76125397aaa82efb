"""The entry point: finds the command, and tells errors as a shell expects."""

import argparse
import importlib
import inspect
import logging
import os
import re
import signal
import sys
import threading
import warnings
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.resources import files
from typing import Any, Dict, Iterator, List, Optional, Sequence

from tmfun_pyg._version import __version__
from tmfun_pyg.cli.find_files import find_files

# Where each is, imported when called, so that --help does not wait for torch,
# and what it is for.
COMMANDS = {
    "prepare": ("prepare", "make a data set of a log and feature files"),
    "search": ("search", "find options of a model on validation"),
    "fit": ("fit", "train a model"),
    "validate": ("judge", "rank the validation split with a trained model"),
    "test": ("judge", "rank the test split with a trained model"),
    "recommend": ("recommend", "write the best items for users"),
    "similar": ("similar", "write the most similar items of items"),
    "score": ("score", "write the scores of given users and items"),
    "explain": ("explain", "say why an item is recommended to a user"),
    "export": ("export", "write embeddings, indices, a scorer for serving"),
    "report": ("report", "make a page with figures of training runs"),
}
TRAINING = ("search", "fit")
# Options whose parts are modalities, which may hold a dash.
NAMED_BY_USERS = ("features", "feature_ids")
# Arguments that are options of the same name.
OF_TRAINING = r"(?:loader|trainer)\.\w+|lr|patience|seed_everything|budget|"
OF_TRAINING += r"data\.(?:root|name|modalities|zero_rows|half|k|recall)"
FAILURE, USAGE, INTERRUPT, CLOSED_PIPE = 1, 2, 130, 141


def main(args: Optional[Sequence[str]] = None) -> int:
    r"""Runs a command.

    Args:
        args (Sequence[str], optional): The command and its options, those of
            the process if not given. (default: :obj:`None`)

    Returns:
        The exit status: :obj:`0` if all went well, :obj:`1` after a failure,
        :obj:`2` for options that are not understood, :obj:`130` after an
        interruption.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    words = [_with_underscores(word) for word in words if word != "--debug"]
    command = _parse_command(words[:1])
    args = words[1:]
    if {"-h", "--help"}.intersection(args):
        folder = files("tmfun_pyg.cli").joinpath("help")
        text = folder.joinpath(f"{command}.txt").read_text(encoding="utf-8")
        print(text, end="")
        return 0
    try:
        args = find_files(command, args)
        module = importlib.import_module(
            f"tmfun_pyg.cli.{COMMANDS[command][0]}"
        )
        if not debug:
            # Lightning sets its loggers up when it is imported:
            _quiet(command)
        function, status = getattr(module, command), 0
        if command in TRAINING:  # Their options are more than arguments.
            status = function(args)
        else:
            from tmfun_pyg.cli.command import run

            with _tidied_up():
                run(command, function, args, getattr(module, "SEVERAL", {}))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"tmfun {command}: interrupted", file=sys.stderr)
        return INTERRUPT
    except BrokenPipeError:  # As in `tmfun test ... | head -1`.
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    # What people can mend. Anything else is a fault of ours: its traceback
    # is worth having.
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        is_usage = type(error).__name__ == "OptionError"  # In these words.
        text = str(error) if is_usage else in_options(str(error), command)
        print(f"tmfun {command}: error: {text}", file=sys.stderr)
        return USAGE if is_usage else FAILURE


@contextmanager
def _tidied_up() -> Iterator[None]:
    """Lets signals that end the process end it by an exception, after which
    half-written files are removed. (Training has Lightning's handlers.)
    """

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    names = ("SIGTERM", "SIGHUP")  # Windows lacks the second.
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ours = []
    if threading.current_thread() is threading.main_thread():
        # What is ignored stays so, as by nohup.
        ours = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def in_options(text: str, command: str) -> str:
    """Takes what is an argument in Python for the option that it is here."""
    data = "--data." if command in TRAINING else "--"
    if command not in ("prepare", *TRAINING):  # They have no such option.
        option = "pass zero_rows='mask'"
        text = re.sub(f"; {option}.*| and {option}", "", text)
    for argument, option in (
        ("overwrite=True", "--overwrite"),
        ("zero_rows='mask'", f"{data}zero_rows mask"),
        ("modalities=[]", f"{data}modalities []"),
        ("give 'dataset'", "pass --root"),
        ("give its class as 'model_cls'", "load it in Python"),
    ):
        text = text.replace(argument, option)
    if command in TRAINING:
        text = re.sub(rf"'({OF_TRAINING})'(?= must| is )", r"--\1", text)
    names = _options_of(command)
    # What was found may be called anything.
    said, got, found = text.partition(" (got ")
    said = re.sub(
        r"(?<!column )(?<!modality )'([a-z_]+)'",
        lambda match: names.get(match[1], match[0]),
        said,
    )
    if said.startswith("the ") and text.startswith("'"):
        said = f"T{said[1:]}"
    text = f"{said}{got}{found}"
    # Behind a bracket, it is what Lightning was called with.
    return re.sub(r"(?<!\()\b([a-z_]+)=('([^' ]+)'|\.\.\.)", _as_option, text)


def _options_of(command: str) -> Dict[str, str]:
    """Returns what the arguments of Python are called in a command."""
    module = sys.modules.get(f"tmfun_pyg.cli.{COMMANDS[command][0]}")
    asked = inspect.signature(getattr(module, command, main)).parameters
    names = {name: f"--{name}" for name in asked}
    if "recommender" in asked:
        names |= {"model": "the model", "dataset": "the data set"}
    return {**names, **getattr(module, "ARGUMENTS", {})}


def _as_option(match: "re.Match[str]") -> str:
    return f"--{match[1]} {match[3] or match[2]}"


def _parse_command(words: List[str]) -> str:
    listed = "\n".join(
        f"  {name:<11}{text}" for name, (_, text) in COMMANDS.items()
    )
    parser = argparse.ArgumentParser(
        "tmfun",
        description="Multimodal recommendation: from a log of interactions "
        "and item features to lists of recommendations.",
        epilog=f"commands:\n{listed}\n\nThe options of a command: tmfun "
        f"COMMAND --help. With --debug, errors come with a traceback.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", metavar="COMMAND")
    command: str = parser.parse_args(words).command
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(
            f"COMMAND must be one of {', '.join(COMMANDS)} (got '{command}')"
            f"{hint}"
        )
    return command


def _with_underscores(word: str) -> str:
    """Takes --cold-items for --cold_items, as the options are called."""
    if not word.startswith("--"):
        return word
    key, equals, value = word.partition("=")
    first, dot, rest = key[2:].partition(".")
    first = first.replace("-", "_")
    if first not in NAMED_BY_USERS:
        rest = rest.replace("-", "_")
    return f"--{first}{dot}{rest}{equals}{value}"


def _quiet(command: str) -> None:
    """Leaves out what Lightning tells developers, and tells people the rest in
    the words of a command.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".* directory .* exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message)
    # A warning is for people, too: without the line of code it came from.
    warnings.showwarning = lambda message, *_: print(
        f"warning: {in_options(str(message), command)}", file=sys.stderr
    )

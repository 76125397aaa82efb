"""The entry point: runs a command, and reports errors as a shell expects."""

import argparse
import importlib
import logging
import os
import sys
import warnings
from difflib import get_close_matches
from importlib.resources import files
from typing import List, Optional, Sequence

from tmfun_pyg._version import __version__
from tmfun_pyg.cli.commands import COMMANDS, NAMED_BY_USERS, TRAINING, module_of
from tmfun_pyg.cli.find_files import find_files
from tmfun_pyg.cli.option_names import in_options
from tmfun_pyg.cli.signals import INTERRUPT, ended_by_exceptions
from tmfun_pyg.utils.memory import out_of_memory

FAILURE, USAGE, CLOSED_PIPE = 1, 2, 141


def main(args: Optional[Sequence[str]] = None) -> int:
    r"""Runs a command.

    Args:
        args (Sequence[str], optional): The command and its options, those of
            the process if not given. (default: :obj:`None`)

    Returns:
        The exit status: :obj:`0` for success, :obj:`1` after a failure,
        :obj:`2` for invalid options, :obj:`130` after an interruption.
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
    # Pages of 2 MB, which torch requests if this is set before it allocates:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        args = find_files(command, args)
        module = importlib.import_module(module_of(command))
        if not debug:
            # Lightning sets up its loggers on import:
            _quiet(command)
        function, status = getattr(module, command), 0
        if command in TRAINING:  # These parse their own options.
            status = function(args)
        else:
            from tmfun_pyg.cli.command import run

            with ended_by_exceptions():
                run(command, function, args, getattr(module, "SEVERAL", {}))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"tmfun {command}: interrupted", file=sys.stderr)
        return INTERRUPT
    except BrokenPipeError:  # As in `tmfun test ... | head -1`.
        # Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    # Errors that users can fix. Anything else is a bug, whose traceback is
    # worth having.
    except Exception as error:
        full = out_of_memory(error)
        is_known = isinstance(error, (ValueError, OSError, ImportError))
        if debug or not (full or is_known):
            raise
        is_usage = type(error).__name__ == "OptionError"  # Names options.
        if full:
            text = f"{full}: see Scaling in the documentation"
        else:
            text = str(error) if is_usage else in_options(str(error), command)
        print(f"tmfun {command}: error: {text}", file=sys.stderr)
        return USAGE if is_usage else FAILURE


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
    """Converts --cold-items to --cold_items, the name of the option."""
    if not word.startswith("--"):
        return word
    key, equals, value = word.partition("=")
    first, dot, rest = key[2:].partition(".")
    first = first.replace("-", "_")
    if first not in NAMED_BY_USERS:
        rest = rest.replace("-", "_")
    return f"--{first}{dot}{rest}{equals}{value}"


def _quiet(command: str) -> None:
    """Suppresses Lightning's messages for developers, and rewords the others
    for a command.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".* directory .* exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message)
    # Warnings are for users, too: without the line of code.
    warnings.showwarning = lambda message, *_: print(
        f"warning: {in_options(str(message), command)}", file=sys.stderr
    )

"""The help texts are files, so that --help needs no import of torch. To write
them anew: `python tests/cli/test_help.py`.
"""

import importlib
import os
import re
from pathlib import Path
from typing import Any, List
from unittest import mock

import pytest

import tmfun_pyg.cli
from tmfun_pyg.cli.command import make_parser
from tmfun_pyg.cli.commands import COMMANDS
from tmfun_pyg.cli.fit import fit_parser
from tmfun_pyg.cli.main import main
from tmfun_pyg.cli.options import model_names
from tmfun_pyg.cli.search import search_parser

FOLDER = Path(tmfun_pyg.cli.__file__).parent / "help"


def help_of(command: str) -> str:
    with mock.patch.dict(os.environ, COLUMNS="80"):
        if command in ("fit", "search"):
            parser = fit_parser() if command == "fit" else search_parser()
        else:
            place = COMMANDS[command][0]
            module = importlib.import_module(f"tmfun_pyg.cli.{place}")
            function = getattr(module, command)
            several = getattr(module, "SEVERAL", {})
            parser = make_parser(command, function, several)
        return str(parser.format_help())


def options(text: str) -> List[str]:
    return sorted(set(re.findall(r"--[\w.]+", text)))


def words(text: str) -> List[str]:
    """Returns all but what versions of argparse and jsonargparse differ in, as
    in how often they print the names of values.
    """
    return re.findall(r"\b[a-z]{5,}\b", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_of_today(command: str, capsys: Any) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown == (FOLDER / f"{command}.txt").read_text(encoding="utf-8")
    assert options(shown) == options(help_of(command))
    today = words(help_of(command))
    if "known subclasses" not in shown:
        assert words(shown) == today
    else:  # Today's may list further models, of other tests.
        rest = iter(today)
        assert [word for word in words(shown) if word not in rest] == []
        assert set(model_names()) <= set(re.findall(r"\w+", shown))
    assert ":obj:" not in shown
    assert ":class:" not in shown


if __name__ == "__main__":
    for name in COMMANDS:
        (FOLDER / f"{name}.txt").write_text(help_of(name), encoding="utf-8")

import argparse
import importlib
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

pytest.importorskip("pyarrow")  # Of scale.py.

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, script: str, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", [script, *args])
    runpy.run_path(str(FOLDER / script), run_name="__main__")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["accuracy.py", "--report"], "'o' must hold finished runs (got none)"),
        (
            ["accuracy.py", "--modalities", "nosuch"],
            "--modalities must be of ['visual', 'textual'] (got ['nosuch'])",
        ),
        (
            ["accuracy.py", "--models", "ItemKNN+content"],
            "'o/synthetic/ItemKNN' must hold a finished run of ItemKNN (got "
            "none): run --models ItemKNN first",
        ),
        (
            ["fold_in.py", "--modalities", "nosuch"],
            "--modalities must be of ['visual', 'textual'] (got ['nosuch'])",
        ),
    ],
)
def test_in_one_line(
    monkeypatch: pytest.MonkeyPatch, words: List[str], message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, *words, "--out", "o")
    assert error.value.code == f"{words[0]}: error: {message}"


def test_no_such_data(monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["--root", "r", "--data", "nosuch", "--out", "o"]
    with pytest.raises(SystemExit, match=r"^cold.py: .* hold 'nosuch\.inter'"):
        run(monkeypatch, "cold.py", *args)


def test_errors_of_others_keep_their_traceback() -> None:
    run_script = importlib.import_module("_errors").run_script
    with pytest.raises(ValueError, match="need at least one array"):
        run_script(partial(np.stack, []))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["accuracy.py", "--seeds", "0"], "of at least 1 (got '0')"),
        (["accuracy.py", "--epochs", "1.5"], "of at least 1 (got '1.5')"),
        (["accuracy.py", "--budget", "-1"], "of at least 0 (got '-1')"),
        (["fold_in.py", "--folds", "1"], "of at least 2 (got '1')"),
        (["cold.py", "--ratio", "1"], "above 0 and below 1 (got 1.0)"),
        (["cold.py", "--ratio", "nan"], "above 0 and below 1 (got nan)"),
        (["cold.py", "--shares", "0", "1.5"], "from 0 to 1 (got 1.5)"),
        (["scale.py", "--rows", "10"], "of at least 2000 (got '10')"),
        (["scale.py", "--rows", "-5"], "of at least 2000 (got '-5')"),
        (["scale.py", "--steps", "0"], "of at least 1 (got '0')"),
        (["scale.py", "--max-time", "1h"], "must be HH:MM:SS (got '1h')"),
    ],
)
def test_values_out_of_range(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: List[str],
    message: str,
) -> None:
    folder = "--folder" if words[0] == "scale.py" else "--out"
    with pytest.raises(SystemExit):
        run(monkeypatch, *words, folder, "o")
    line = capsys.readouterr().err.splitlines()[-1]
    assert words[1] in line
    assert line.endswith(message)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("script", ["accuracy.py", "cold.py", "scale.py"])
def test_each_option_has_help(
    monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    def parse(parser: argparse.ArgumentParser) -> Any:
        missing.extend(a.dest for a in parser._actions if not a.help)
        raise SystemExit

    missing: List[str] = []
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(SystemExit):
        run(monkeypatch, script)
    assert missing == []

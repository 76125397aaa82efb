from pathlib import Path
from typing import Any

import pytest

from tmfun_pyg.cli.main import main
from tmfun_pyg.datasets import MultimodalRecDataset

ARGS = ["prepare", "--log", "log.txt", "--out", ".", "--name", "own"]
LAYOUT = ["--columns", "user_id", "item_id", "--sep", "\\t"]


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: Any) -> None:
    """A log without a header, in whose folder the command runs."""
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = [f"{u}\t{(u + i) % 7}.0\n" for u in range(10) for i in range(5)]
    Path("log.txt").write_text("".join(rows))


def test_layout(capsys: Any) -> None:
    args = [*ARGS, *LAYOUT, "--encoding", "ascii", "--id-type"]
    assert main([*args, "int"]) == 0
    dataset = MultimodalRecDataset(".", "own", modalities=[])
    assert dataset.user_ids.tolist() == list(range(10))
    assert dataset.item_ids.tolist() == list(range(7))
    assert main([*args, "str"]) == 1
    assert "pass --overwrite to replace it" in capsys.readouterr().err
    # A switch needs no value, wherever it stands:
    assert main([*args, "str", "--overwrite"]) == 0
    assert main([args[0], "--overwrite", *args[1:], "str"]) == 0
    dataset = MultimodalRecDataset(".", "own", modalities=[])
    assert dataset.user_ids.tolist() == [str(i) for i in range(10)]
    assert dataset.item_ids.tolist() == [f"{i}.0" for i in range(7)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LAYOUT, "row 0, counted from 0); --id_type int reads whole numbers"),
        ([], "(got '.txt'); prepare takes other text with --sep ..., what"),
        (["--sep", ","], "--user_col user_id, --item_col item_id (got"),
        (["--sep", ","], "; prepare takes --columns ..., their names where"),
        (["--sep", ""], "--sep must be what separates columns"),
        ([*LAYOUT, "--encoding", "x"], "error: --encoding must be one that"),
        ([*LAYOUT, "--id_type", "int", "--split", "global_time"], "--time_col"),
        (["--name", "../x"], "error: --name must consist of letters"),
        (["--features.a.b", "x.npy"], "error: --features must have names"),
        (["--log", "."], "'.' must be a file (got a folder)"),
    ],
)
def test_advice_names_options(options: Any, message: str, capsys: Any) -> None:
    assert main([*ARGS, *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("own").exists()


def test_format(capsys: Any) -> None:
    rows = [
        f"{u}\t{(u + i) % 7}\t5\t{10**9 + i}\n"
        for u in range(10)
        for i in range(5)
    ]
    Path("u.data").write_text("".join(rows))
    args = ["prepare", "--out", ".", "--name", "own", "--format", "movielens"]
    assert main([*args, "--log", "log.txt"]) == 1
    error = "'log.txt' must be of type .csv, .data, .dat for --format movielens"
    assert error in capsys.readouterr().err
    assert main([*args, "--log", "u.data", "--sep", ","]) == 1
    error = "--sep must not be given with --format movielens"
    assert error in capsys.readouterr().err
    assert main([*args, "--log", "u.data"]) == 0
    dataset = MultimodalRecDataset(".", "own", modalities=[])
    assert dataset.item_ids.tolist() == list(range(7))
    assert dataset.interaction_times is not None

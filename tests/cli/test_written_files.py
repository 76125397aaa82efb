"""Nothing that is worth keeping is replaced, nothing half-written is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

import tmfun_pyg
from tmfun_pyg.cli.main import main
from tmfun_pyg.nn import LightGCN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import DatasetOptions

RECOMMEND = ["recommend", "--ckpt", "c.ckpt", "--out"]
EXPLAIN = ["explain", "--ckpt", "c.ckpt", "--user", "3", "--item", "7"]


@pytest.mark.parametrize(
    ("words", "name", "what"),
    [
        ([*RECOMMEND], "metrics.csv", "run"),
        ([*EXPLAIN, "--json"], "config.yaml", "run"),
        ([*EXPLAIN, "--json"], "last.ckpt", "run"),
        ([*EXPLAIN, "--json"], "toy/toy.inter", "data set"),
        ([*EXPLAIN, "--json"], "toy/visual_feat.npy", "data set"),
    ],
)
def test_files_of_a_run_and_its_data_set(
    recommender: Recommender,
    words: List[str],
    name: str,
    what: str,
    capsys: Any,
) -> None:
    path = Path(name)
    if not path.exists():
        path.write_text("itemID,title\n")
    before = path.read_bytes()
    assert main([*words, name]) == 1
    option = words[-1]
    assert capsys.readouterr().err.endswith(
        f"error: {option} must be another file than those of the {what} (got "
        f"'{name}')\n"
    )
    assert path.read_bytes() == before


def test_other_files_beside_them(recommender: Recommender) -> None:
    for _ in range(2):  # The second time, it replaces its own.
        assert main([*RECOMMEND, "lists.csv"]) == 0


def test_synthetic_data_set(tmp_path: Path, monkeypatch: Any) -> None:
    """It has no files."""
    monkeypatch.chdir(tmp_path)
    source = DatasetOptions()
    dataset = source.load()
    model = LightGCN.from_data(dataset[0], channels=4)
    Recommender(model, dataset, source).save("c.ckpt")
    assert main([*RECOMMEND, "lists.csv"]) == 0


def test_type_of_a_picture(recommender: Recommender, capsys: Any) -> None:
    Path("e.json").write_text("{}")
    assert main([*EXPLAIN, "--json", "e.json", "--plot", "e.txt"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "tmfun explain: error: --plot must end in .png, .svg, .pdf (got "
        "'e.txt')\n"
    )
    assert Path("e.json").read_text() == "{}"


def test_column_without_a_name(recommender: Recommender, capsys: Any) -> None:
    Path("pairs.csv").write_text("user_id,item_id,\n3,7,x\n")
    args = ["score", "--ckpt", "c.ckpt", "--pairs", "pairs.csv"]
    assert main([*args, "--out", "scores.csv"]) == 1
    assert "'pairs.csv' must have columns with names" in capsys.readouterr().err
    assert not Path("scores.csv").exists()


@pytest.mark.parametrize("before", ["SIG_DFL", "SIG_IGN"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_end_by_a_signal(tmp_path: Path, name: str, before: str) -> None:
    """What is ignored, as by nohup, stays so."""
    if not hasattr(signal, name):
        pytest.skip(f"no {name} here")
    code = (
        "import os, signal, sys, types; from tmfun_pyg.cli import main as cli; "
        "from tmfun_pyg.utils.files import atomic_write\n"
        f"signal.signal(signal.{name}, signal.{before})\n"
        "def score() -> None:\n"
        "    'Writes a file.'\n"
        "    with atomic_write('a.csv') as part:\n"
        "        part.write_text('x')\n"
        f"        os.kill(os.getpid(), signal.{name})\n"
        "command = types.ModuleType('x'); command.score = score\n"
        "sys.modules['tmfun_pyg.cli.score'] = command\n"
        "sys.exit(cli.main(['score']))"
    )
    root = str(Path(tmfun_pyg.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )
    ends = before == "SIG_DFL"
    assert done.returncode == (128 + getattr(signal, name) if ends else 0)
    assert os.listdir(tmp_path) == ([] if ends else ["a.csv"])

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, List

import numpy as np
import pytest

pytest.importorskip("pyarrow")

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("scale")


def test_log(script: ModuleType, monkeypatch: Any) -> None:
    user, item, cluster = script.draw(100_000, seed=0)
    again = script.draw(100_000, seed=0)
    assert all(map(np.array_equal, (user, item, cluster), again))
    assert not np.array_equal(item, script.draw(100_000, seed=1)[1])
    assert len(np.unique(user)) == 5000
    assert item.max() < len(cluster) == 1000
    assert len(np.unique(np.stack([user, item]), axis=1).T) == len(user)
    # Of a user who goes by taste alone, items are of three clusters at most:
    monkeypatch.setattr(script, "TASTE", 1.0)
    user, item, cluster = script.draw(100_000, seed=0)
    found = np.unique(np.stack([user, cluster[item]]), axis=1)
    assert np.bincount(found[0]).max() == 3


def test_reads_what_a_run_prints(script: ModuleType) -> None:
    lines = [
        "2,000 users, 1,500 items, 718,293 interactions; 24 steps of 6,144 "
        "an epoch, 1.5 min a step, 102 s an epoch before validation",
        "epoch 2: loss 3.7607, recall@20 0.2870 (best 0.2880), 35.7 s, at "
        "most 36 s left",
        "720 users       recall@10  recall@20    ndcg@10    ndcg@20",
        "most-popular       0.0280     0.0429     0.0186     0.0230",
        "TMFUN              0.1970     0.2877     0.1259     0.1514",
        "The run is in runs/0.5. Next:",
    ]
    assert script.EPOCH.match(lines[1]).groups() == ("2", "0.2870", "35.7")
    within = "epoch 0, 32/126 steps: recall@20 0.1458 (best 0.1458), 412.0 s"
    assert script.EPOCH.match(within).groups() == ("0", "0.1458", "412.0")
    timed = [(0.0, line) for line in lines]
    assert script.recall_of(timed) == 0.2877
    assert script.seconds_of_epoch(timed) == 117 * 90
    assert script.seconds_of_epoch(timed[1:]) is None


def run(script: ModuleType, folder: Path, *args: str) -> None:
    argv = ["scale.py", "--rows", "2000", "--runs", "TMFUN", *args]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*argv, "--folder", str(folder)])
        script.main()


@pytest.fixture
def commands(script: ModuleType, monkeypatch: Any) -> List[List[str]]:
    """The commands, of which none is run."""
    found: List[List[str]] = []

    def note(args: List[str]) -> Any:
        found.append(args)
        return 1.0, 1.0, [(1.0, "TMFUN  0.1970  0.2877  0.1259  0.1514")]

    monkeypatch.setattr(script, "run", note)
    return found


def test_nothing_of_others_is_deleted(
    script: ModuleType, tmp_path: Path, commands: List, monkeypatch: Any
) -> None:
    (tmp_path / "part").mkdir()
    own = tmp_path / "part" / "own.txt"
    own.write_text("")
    run(script, tmp_path, "--runs", "TMFUN, no start")
    kept = tmp_path / "rows_2000" / "run" / "own.txt"
    kept.parent.mkdir()
    kept.write_text("")
    run(script, tmp_path)
    assert [args[0] for args in commands] == ["prepare", "fit", "fit"]

    def fail(args: List[str]) -> None:
        raise SystemExit("failed")

    monkeypatch.setattr(script, "run", fail)
    for args in (["--rows", "3000"], ["--runs", "LightGCN"]):
        with pytest.raises(SystemExit, match="failed"):
            run(script, tmp_path, *args)
    assert {p.name for p in tmp_path.iterdir()} == {"part", "rows_2000"}
    folders = {p.name for p in kept.parents[1].iterdir() if p.is_dir()}
    assert folders == {"run"}
    assert own.exists()
    assert kept.exists()


def test_other_options(
    script: ModuleType, tmp_path: Path, commands: List
) -> None:
    run(script, tmp_path, "--steps", "2")
    run(script, tmp_path, "--steps", "2")
    assert [args[0] for args in commands] == ["prepare", "fit"]
    message = r"TMFUN\.json must .*batches': '9'.*'2'.* another folder"
    with pytest.raises(ValueError, match=message):
        run(script, tmp_path, "--steps", "9")
    with pytest.raises(ValueError, match=r"rows_2000 must .* seed 7 \(got 0"):
        run(script, tmp_path, "--steps", "2", "--seed", "7")
    (tmp_path / "rows_3000").mkdir()
    with pytest.raises(ValueError, match=r"rows_3000 must .* \(got None"):
        run(script, tmp_path, "--rows", "3000")
    assert len(commands) == 2
    path = tmp_path / "rows_2000" / "TMFUN.json"
    command = json.loads(path.read_text())["command"]
    assert str(tmp_path) not in command
    # Closed forms have no steps:
    for steps in ("2", "9"):
        run(script, tmp_path, "--steps", steps, "--runs", "SVD 64")
    assert len(commands) == 3


def test_time_and_steps(
    script: ModuleType, tmp_path: Path, commands: List
) -> None:
    run(script, tmp_path, "--steps", "2", "--max-time", "01:00:00")
    assert {"--trainer.limit_train_batches", "00:01:00:00"} <= {*commands[1]}


def test_status_of_a_failed_command(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"nosuch' ended with 2$"):
        script.run(["nosuch"])

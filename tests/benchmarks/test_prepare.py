import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator

import pandas as pd
import pytest

pytest.importorskip("pyarrow")
resource = pytest.importorskip("resource")

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("prepare")


def test_logs(script: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(script, "CHUNK", 700)
    paths = [tmp_path / f"log.{suffix}" for suffix in ("csv", "parquet")]
    for path in paths:
        script.write_log(path, 2000, seed=1)
    log, same = pd.read_csv(paths[0]), pd.read_parquet(paths[1])
    assert log.to_dict("list") == same.to_dict("list")
    assert len(log) == 2000
    assert log["user_id"].nunique() <= 2000 // 18
    assert log["item_id"].nunique() <= 2000 // 93
    assert log["timestamp"].between(1.5e9, 1.7e9).all()
    script.write_log(tmp_path / "other.csv", 2000, seed=2)
    assert not log.equals(pd.read_csv(tmp_path / "other.csv"))


def test_measures(script: ModuleType) -> None:
    code = "import time; x = bytearray(2**28); time.sleep(0.2)"
    seconds, busy, memory = script.run([sys.executable, "-c", code])
    assert seconds > 0.2
    assert busy < seconds
    # A process begins as a copy of the one that starts it:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert 0.25 < memory < max(0.5, own + 0.05)
    with pytest.raises(SystemExit, match=r"ended with 3$"):
        script.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_what_is_there_stays(
    script: ModuleType, tmp_path: Path, monkeypatch: Any
) -> None:
    kept = tmp_path / "out" / "kept"
    kept.parent.mkdir()
    kept.touch()
    monkeypatch.setattr(script, "run", lambda command: (1.0, 1.0, 1.0))
    options = ["--rows", "2000", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["prepare.py", *options])
    script.main()
    logs = ["log_2000_0.csv", "log_2000_0.parquet"]
    assert sorted(x.name for x in tmp_path.iterdir()) == [*logs, "out"]
    assert kept.exists()

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("prepare_features")


def test_files(script: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(script, "BLOCK", 70)
    script.write_features(tmp_path / "x.npy", 100, 80, seed=0)
    x = np.load(tmp_path / "x.npy")
    assert x.shape == (100, 80)
    assert x.dtype == np.float16
    assert len(np.unique(x, axis=0)) == 100
    script.write_log(tmp_path / "log.csv", 100, seed=0)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["item_id"].value_counts().eq(3).all()
    assert log["user_id"].value_counts().eq(6).all()


def test_memory(script: ModuleType) -> None:
    code = "import time; x = bytearray(2**28); time.sleep(0.3)"
    seconds, busy, memory = script.run([sys.executable, "-c", code])
    assert busy < seconds
    assert 0.25 < memory < 0.5
    with pytest.raises(SystemExit, match=r"ended with 3$"):
        script.run([sys.executable, "-c", "raise SystemExit(3)"])

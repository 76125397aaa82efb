from pathlib import Path
from typing import Any

import pytest
from toy_files import write_files

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import DatasetOptions


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    """A small data set, in whose folder the commands run."""
    write_files(tmp_path / "toy")
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recommender(folder: Path) -> Recommender:
    """A recommender of that data set, saved there."""
    source = DatasetOptions("toy", k=3)
    dataset = source.load()
    model = TMFUN.from_data(dataset[0], channels=8)
    recommender = Recommender(model, dataset, source)
    recommender.save("c.ckpt")
    return recommender

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np
import pytest
import torch

# Users 0-2, items 0-4, out of order; splits of 6, 2 and 2.
ROWS = """\
2 3 0
0 1 0
0 0 0
1 4 0
1 2 0
2 0 0
0 4 1
1 0 1
2 1 2
0 3 2
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("TMFUN_CACHE", str(path))
    return path


@pytest.fixture
def make_raw(tmp_path: Path) -> Callable[..., Path]:
    """Writes `toy.inter` and its features; returns the root folder."""

    def make(
        rows: str = ROWS,
        features: Optional[Dict[str, np.ndarray]] = None,
        header: str = "userID\titemID\tx_label",
        folder: str = "toy",
    ) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        text = f"{header}\n" + rows.replace(" ", "\t")
        (path / "toy.inter").write_bytes(text.encode())
        if features is None:
            rng = np.random.default_rng(0)
            features = {
                "visual": rng.standard_normal((5, 4)).astype(np.float16),
                "acoustic": rng.standard_normal((5, 3)),
            }
        for name, matrix in features.items():
            np.save(path / f"{name}_feat.npy", matrix)
        return tmp_path

    return make


@pytest.fixture
def nothing_written(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it when all input is in place; checked at the end."""
    before = None

    def listing() -> set:
        return set(tmp_path.rglob("*"))

    def start() -> None:
        nonlocal before
        before = listing()

    yield start
    assert before is not None
    assert listing() == before


@pytest.fixture
def real_data() -> Path:
    path = Path(__file__).parents[2].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real data sets are not in '../shared/data'")
    return path


class Encoder(torch.nn.Module):
    """Stands for a model: counts letters, and what it is asked for."""

    asked: List[str] = []

    def __init__(self, path: str, local_files_only: bool) -> None:
        super().__init__()
        if not local_files_only and path != "all-letters":
            raise OSError(f"{path} is no model\nsee there")
        assert local_files_only == os.path.isdir(path)
        self.weight = torch.nn.Parameter(torch.ones(3))

    def encode(
        self, texts: List[str], convert_to_numpy: bool, show_progress_bar: bool
    ) -> np.ndarray:
        assert convert_to_numpy
        assert not show_progress_bar  # We have one of our own.
        self.asked.extend(texts)
        rows = [[text.count(letter) for letter in "abc"] for text in texts]
        return np.array(rows, dtype=np.float32) * self.weight.detach().numpy()


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module: Any = SimpleNamespace(SentenceTransformer=Encoder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    path = tmp_path / "encoder"
    path.mkdir()
    return str(path)


@pytest.fixture
def asked(encoder: str, monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """The texts that the model has been asked for."""
    texts: List[str] = []
    monkeypatch.setattr(Encoder, "asked", texts)
    return texts

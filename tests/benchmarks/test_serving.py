import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, List

import pytest
import torch

pytest.importorskip("faiss")

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--num-users", "30", "--repeats", "1", "--k", "5"]


@pytest.fixture(scope="module")
def serving() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("serving")


def run(
    serving: ModuleType, monkeypatch: Any, capsys: Any, *args: str
) -> List[List[str]]:
    monkeypatch.setattr(sys, "argv", ["serving.py", *SMALL, *args])
    serving.main()
    lines = capsys.readouterr().out.splitlines()
    assert "commit" in lines[0]
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert all(len(row) == 6 for row in rows)
    return rows[2:]


def test_drawn(serving: ModuleType, monkeypatch: Any, capsys: Any) -> None:
    rows = run(serving, monkeypatch, capsys, "--num-items", "300", "2000")
    assert [row[1].split(",")[0] for row in rows] == [
        "exact",
        "kind=flat",
        "kind=ivf",
        "kind=hnsw",
    ] * 2
    assert {row[0] for row in rows} == {"| 300", "| 2,000"}
    for row in rows:
        recall = float(row[5].strip(" |"))
        exact = row[1] in ("exact", "kind=flat")
        assert recall == 1.0 if exact else 0.5 < recall <= 1.0
        assert float(row[3].replace(",", "")) > 0


def test_drawn_items_lie_around_centres(serving: ModuleType) -> None:
    user_emb, item_emb = serving.draw(400, 100, 8, noise=0.01)
    assert user_emb.shape == (100, 8)
    near = torch.nn.functional.normalize(item_emb)
    near = near @ torch.nn.functional.normalize(user_emb).t()
    # 20 centres: few users are without an item in almost their direction.
    assert float((near.amax(dim=0) > 0.999).float().mean()) > 0.9
    assert float(item_emb.norm(dim=1).max() / item_emb.norm(dim=1).min()) > 2

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, List, Tuple

import pytest
import torch

from tmfun_pyg.transforms import ToRecGraph

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Peaks are Linux's"
)

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def speed() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        graphs = importlib.import_module("_graphs")
        patch.setitem(graphs.SIZES, "tiny", (60, 40, 400))
        measure = importlib.import_module("_measure")
        for rate in ("byte_rate", "flop_rate"):
            patch.setattr(measure.Bench, rate, 1e9)
        yield importlib.import_module("speed")


def test_all_parts(
    speed: ModuleType, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--data", "tiny", "--repeats", "2", "--channels", "8"]
    args += ["--batch-size", "50"]
    monkeypatch.setattr(sys, "argv", ["speed.py", *args])
    speed.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line[2:-2].split(" | ") for line in lines if line[:2] == "| "]
    found: List[Tuple[str, str]] = [(row[0], row[1]) for row in rows[2:]]
    for expected in (
        ("propagation", "COO"),
        ("feature graph", "FeatureGraphConv"),
        ("layers", "info_nce"),
        ("step, 4 layers", "TMFUN"),
        ("step, 4 layers", "PyG's LightGCN on COO"),
        ("epoch", "LightGCN"),
        ("ranking", "evaluate"),
        ("sampled step", "drawing alone"),
    ):
        assert expected in found
    assert all(len(row) == 6 for row in rows)
    assert all(float(row[2].replace(",", "")) > 0 for row in rows[2:])


def test_other_ways_propagate_the_same(speed: ModuleType) -> None:
    data = ToRecGraph()(speed.load_graph("tiny", None))
    probe = torch.randn(100, 8)
    ways = speed.propagation_ways(data, probe)
    ours = torch.cat(ways.pop("ours")())
    assert len(ways) == 3
    for function in ways.values():
        (grad,) = function()
        torch.testing.assert_close(ours, (probe + grad) / 2)


def test_peak_memory(speed: ModuleType) -> None:
    measure = importlib.import_module("_measure")
    start = measure.reset_peak("cpu")
    # 128 MiB, written to: more than what malloc keeps of freed memory.
    x = torch.ones(2**25)
    del x
    assert 121 < measure.peak("cpu") - start < 176
    start = measure.reset_peak("cpu")
    assert measure.peak("cpu") - start < 20

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator

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

import ast
import csv
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.testing import RankingModelTests
from tmfun_pyg.training import dataset_options

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    def run(name: str, *args: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *args])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_train_tmfun(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make_dataset(**kwargs: Any) -> SyntheticMultimodal:
        return SyntheticMultimodal(50, 60, **kwargs)

    monkeypatch.setattr(dataset_options, "SyntheticMultimodal", make_dataset)
    for name in ("jinja2", "matplotlib", "pyarrow"):  # It needs no extra.
        monkeypatch.setitem(sys.modules, name, None)
    out = run("train_tmfun.py", "--epochs", "2", "--out", str(tmp_path))
    rows = re.findall(r"^(\w+)((?: +\d\.\d{4}){4})$", out, re.MULTILINE)
    assert [name for name, _ in rows] == ["MostPopular", "LightGCN", "TMFUN"]
    for name, values in rows[1:]:
        recommender = Recommender.load(tmp_path / name / "best.ckpt")
        expected = recommender.evaluate("test")["recall@20"]
        assert float(values.split()[1]) == pytest.approx(expected, abs=1e-4)
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["val_recall@20"]]
        assert len(rows) == 2


def test_recommend(run: Any) -> None:
    lines = run("recommend.py").splitlines()
    lists = [ast.literal_eval(x) for x in lines if x.startswith("['")]
    known, new, few, similar = lists
    assert len(known) == 5
    assert all(re.fullmatch(r"\d{4}", item) for item in known)
    assert [title.split()[0] for title in [*new, *similar]] == ["tea"] * 8
    kinds = [title.split()[0] for title in few]
    assert len(few) == 5
    assert max(kinds.count(kind) for kind in kinds) == 2
    assert all(int(title.split()[-1]) % 3 == 0 for title in few)


def test_plain_pyg(run: Any) -> None:
    code = (FOLDER / "plain_pyg.py").read_text("utf-8")
    assert re.findall(r"(?:import|from) (tmfun_pyg\S*)", code) == [
        "tmfun_pyg.nn"
    ]
    out = run("plain_pyg.py")
    without, with_content = map(float, re.findall(r"Recall@10 (\S+)", out))
    assert with_content > 1.1 * without > 0
    (weights,) = re.findall(r"\[([\d.]+), ([\d.]+)\]", out)
    assert float(weights[0]) > float(weights[1])  # Images count for more.


def test_custom_model(run: Any) -> None:
    out = run("custom_model.py", "--epochs", "2")
    popular, without, with_content = re.findall(r"(0\.\d{4})\n", out)
    assert float(with_content) > 1.2 * float(without) > 0
    assert float(with_content) > float(popular)


def test_hetero_conv(run: Any) -> None:
    out = run("hetero_conv.py", "--epochs", "2")
    without, with_content = map(float, re.findall(r"(0\.\d{4})\n", out))
    assert with_content > 1.1 * without > 0


class TestContentLightGCN(RankingModelTests):
    model_cls = runpy.run_path(str(FOLDER / "custom_model.py"))[
        "ContentLightGCN"
    ]
    options = {"in_channels": {"m0": 3, "m1": 4}}


def test_lenskit_scorer(run: Any) -> None:
    pytest.importorskip("lenskit")  # An environment of its own has it.
    found = re.findall(r"(\w+) +NDCG@10 (0\.\d{4})\n", run("lenskit_scorer.py"))
    popular, neighbors, ours = (float(value) for _, value in found)
    assert [name for name, _ in found][-1] == "TMFUNScorer"
    assert ours > 1.5 * neighbors > popular > 0

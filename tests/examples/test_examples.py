import ast
import csv
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.datasets import (
    MultimodalRecDataset,
    SyntheticMultimodal,
    prepare,
)
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


class FakeResNet(torch.nn.Module):
    """Stands for a model of torchvision: the mean of each color."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.fc = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1000)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(3))
            self.layer.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer(x.mean(dim=(2, 3))))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of PyPI does not import beside the CPU build of torch."""

    def transform(image: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()

    weights = SimpleNamespace(transforms=lambda: transform)
    models: Any = ModuleType("torchvision.models")
    models.get_model_weights = lambda name: SimpleNamespace(DEFAULT=weights)
    models.get_model = lambda name, weights: FakeResNet()
    module: Any = ModuleType("torchvision")
    module.models = models
    monkeypatch.setitem(sys.modules, "torchvision", module)


def test_encode_images(
    run: Any, torchvision: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    colors = [(9, 0, 0), (0, 9, 0), (0, 0, 9), (1, 2, 3)]
    for n, color in enumerate(colors):
        image.new("RGB", (4, 4), color).save(f"{n}.png")
    whole = Path("3.png").read_bytes()
    Path("3.png").write_bytes(whole[:45])
    Path("4.png").write_text("no picture")
    names = [f"00{n},{n}.png" for n in range(6)]  # There is no 5.png.
    text = "\n".join(["item_id,image", *names, "006,", "NA,0.png", ""])
    Path("items.csv").write_text(text)
    out = run("encode_images.py", "items.csv", "--batch-size", "2")
    assert out.splitlines() == [
        "2 missing, such as of item 005",
        "2 broken, such as of item 003",
        "image_feat.npy: 3 features of 4 items",
    ]
    log = pd.DataFrame({"user_id": np.repeat(range(9), 4)})
    ids = ["000", "001", "002", "003", "006", "NA"]
    log["item_id"] = [ids[(u + n) % 6] for u in range(9) for n in range(4)]
    log.to_csv("log.csv", index=False)
    report = prepare("log.csv", "out", "own", {"image": "image_feat.npy"})
    assert report.assumed == []
    dataset = MultimodalRecDataset("out", "own", zero_rows="mask")
    assert dataset.item_ids.tolist() == ids
    rows = [list(color) for color in colors[:3]]
    expected = [*rows, [0, 0, 0], [0, 0, 0], rows[0]]
    assert dataset[0]["item"].x_image.tolist() == expected

    Path("items.csv").write_text("item_id,image\n004,4.png\n")
    with pytest.raises(SystemExit, match=r"no picture in 'items\.csv' could"):
        run("encode_images.py", "items.csv", "--out", "new.npy")
    with pytest.raises(SystemExit, match=r"no column 'file' in 'items\.csv'"):
        run("encode_images.py", "items.csv", "--image-col", "file")
    assert not Path("new.npy").exists()

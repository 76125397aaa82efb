import base64
import copy
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Tuple, Type

import matplotlib
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from toy_files import write_files

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.nn import TMFUN, LightGCN, RankingModel
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.report import page as page_module
from tmfun_pyg.report import report
from tmfun_pyg.training import (
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

SECTIONS = [
    "summary",
    "learning-curves",
    "metrics",
    "lists",
    "modality-weights",
    "user-activity",
    "item-popularity",
    "projection",
]
# Ids are nothing to be trusted.
HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=http://example.org onerror=alert(1)>",
    "$x^{$",
    "_hidden",
    "a\x07\"'&b\ud800",
    "\N{CLOSED BOOK} --> ]]>",
    "long " * 40 + "id",
]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collects what a page holds, and checks that its tags fit."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: List[Tuple[str, Dict[str, Any]]] = []
        self.open: List[str] = []
        self.words: List[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def files_of(folder: Path) -> Dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def dataset() -> SyntheticMultimodal:
    dataset = SyntheticMultimodal(
        120, 40, {"visual": 6, "textual": 4}, missing={"textual": 0.2}
    )
    dataset.item_ids = np.array(
        [*HOSTILE, *map(str, range(len(HOSTILE), 40))], dtype=str
    )
    data = dataset[0]
    store = data["user", "interacts", "item"]
    # Item 20 is cold, and held out from two users.
    store.edge_index = store.edge_index[:, store.edge_index[1] != 20]
    for name in ("val_edge_label_index", "test_edge_label_index"):
        pairs = store[name][:, store[name][1] != 20]
        store[name] = torch.cat([pairs, torch.tensor([[0, 1], [20, 20]])], 1)
    dataset.data = FeatureGraph(3)(data)
    return dataset


def train(
    cls: Type[RankingModel], folder: Path, seed: int, dataset: Any
) -> None:
    seed_everything(seed)
    data = ToRecGraph()(dataset[0])
    model = cls.from_data(data, channels=8)
    module = RecommenderModule(model, data, lr=1e-2, dataset=dataset)
    Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=default_callbacks(str(folder)),
        logger=CSVLogger(folder.parent, folder.name, ""),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, InteractionDataModule(data, 128, seed=seed))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any, dataset: Any) -> Path:
    """Two seeds of TMFUN and one of LightGCN; not to be changed."""
    root = tmp_path_factory.mktemp("runs")
    train(TMFUN, root / "tmfun" / "seed_0", 0, dataset)
    train(TMFUN, root / "tmfun" / "seed_1", 1, dataset)
    train(LightGCN, root / "<b>lightgcn" / "seed_0", 0, dataset)
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: Any, dataset: Any) -> Path:
    """The page of all runs; not to be changed."""
    out = tmp_path_factory.mktemp("pages") / "a" / "out"
    page = report(trained, out, items=HOSTILE, dataset=dataset)
    assert page == out / "report.html"
    return page


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time."""
    monkeypatch.setattr(page_module, "render", lambda *args: ("", b""))


def test_page(page: Path, trained: Path, dataset: Any) -> None:
    reader = Reader(page)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert ids == SECTIONS
    links = [attrs["href"] for _, attrs in reader.tags if "href" in attrs]
    assert links == [f"#{section}" for section in SECTIONS]
    names = {tag for tag, _ in reader.tags}
    assert names.isdisjoint({"script", "link", "iframe", "svg"})
    images = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert all(set(attrs) == {"src", "alt"} for attrs in images)
    assert all(len(attrs["alt"]) > 20 for attrs in images)
    # Nothing is loaded from elsewhere, by the figures neither.
    raw = page.read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src" in raw
    for attrs in images:
        head, _, content = attrs["src"].partition(",")
        assert head == "data:image/svg+xml;base64"
        svg = base64.b64decode(content).decode()
        targets = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', svg)
        assert all(
            target.startswith(("#", "data:image/png;"))
            for pair in targets
            for target in filter(None, pair)
        )
    assert "//" not in re.findall(r"<style>.*?</style>", raw, re.S)[0]

    files = files_of(page.parent)
    pictures = [name for name in files if name.startswith("figures/")]
    assert len(pictures) == len(images) == 14
    assert all(files[name].startswith(b"\x89PNG") for name in pictures)
    assert "figures/b-lightgcn-item-embeddings.png" in files

    text = reader.text
    assert "120" in text
    assert "evaluated on the validation split" in text
    assert "There are no test metrics" in text
    assert "LightGCN does not weigh modalities by attention" in text
    assert "32 of 40 items have all modalities" in text
    assert "no training interaction: 2 held-out" in text
    assert "All 40 items are shown." in text
    data = ToRecGraph()(dataset[0])
    num_users = HeldOutDataset(data, "val").num_users
    assert f"deviation over seeds, over {num_users} users." in text
    scorer = MostPopular.from_data(data)
    popular = evaluate(scorer, data, "val", beyond_accuracy=True)
    for metric in ("recall@20", "ndcg@10"):
        assert f"{popular[metric]:.4f}" in text
    names = ("coverage", "gini", "novelty", "popularity", "cold_share")
    cells = [f"{popular[f'{n}@20']:.4f}" for n in (*names, "diversity")]
    header = "Gini@20 Novelty@20 Popularity@20 Cold share@20 Diversity@20"
    assert text.count(header) == 1  # In a table of their own.
    assert f"most-popular {' '.join(cells)}" in text
    values = [
        Recommender.load(
            trained / "tmfun" / f"seed_{seed}" / "best.ckpt", dataset
        ).evaluate("val")["recall@20"]
        for seed in (0, 1)
    ]
    mean, half = sum(values) / 2, abs(values[0] - values[1]) / math.sqrt(2)
    assert f"{mean:.4f} ± {half:.4f}" in text


def test_same_run_same_bytes(
    page: Path, trained: Path, tmp_path: Path, dataset: Any
) -> None:
    torch.manual_seed(7)
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path"}):
        report(trained, tmp_path / "b", items=HOSTILE, dataset=dataset)
    assert files_of(page.parent) == files_of(tmp_path / "b")


def test_ids_are_escaped(
    page: Path, trained: Path, tmp_path: Path, dataset: Any
) -> None:
    raw = page.read_text(encoding="utf-8")
    assert "<script" not in raw
    assert raw.count("<img") == 14
    cells = Reader(page).words
    for item in HOSTILE[:4]:
        assert item in cells
    assert "a\ufffd\"'&b\ufffd" in cells
    assert "asked for" in cells
    assert "<b>lightgcn" in cells
    with pytest.raises(ValueError, match=r"'items' must .* \(got \['none'\]"):
        report(trained, tmp_path / "b", items=["none"], dataset=dataset)
    assert not (tmp_path / "b").exists()


def test_titles(run: Path, dataset: Any, without_figures: None) -> None:
    other = copy.copy(dataset)
    titles = [f"<i>Song {item}" for item in range(40)]
    urls = [f'https://example.org/{i}.png?a="&b=<c>' for i in range(40)]
    urls[:5] = ["javascript:alert(1)", "", "HTTP://[", "http://a b", "//c"]
    urls[5] = "https://\x07.org"
    other.item_table = pd.DataFrame({"title": titles, "image_url": urls})
    page = report(run / "tmfun", items=[*dataset.item_ids[:8]], dataset=other)
    reader = Reader(page)
    for title in titles[:8]:
        assert title in reader.words
    links = [attrs for _, attrs in reader.tags if "rel" in attrs]
    assert [attrs["href"] for attrs in links] == [
        "HTTP://[",
        "https://\ufffd.org",
        *urls[6:8],
    ]
    assert {attrs["rel"] for attrs in links} == {"noreferrer"}
    for text in ("javascript:alert(1)", "http://a b", "//c"):
        assert text in reader.words
    assert "item title picture chosen as" in reader.text
    other.item_table = other.item_table[["title"]]
    reader = Reader(report(run / "tmfun", dataset=other))
    assert "item title chosen as" in reader.text


def test_one_run_cut_after_one_epoch(run: Path, dataset: Any) -> None:
    folder = run / "<b>lightgcn" / "seed_0"
    log = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join(log[:2]) + "\n")
    (folder / "best.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"seed_0' has no best\.ckpt"):
        page = report(folder, dataset=dataset)
    assert page == folder / "report" / "report.html"
    text = Reader(page).text
    assert "<b>lightgcn, seed 0 0 0 " in text
    before, after = text.split("Accuracy by user activity")[1:]
    assert "±" not in before  # One seed has no deviation.
    assert "±" in after
    assert "<b>lightgcn: left out. LightGCN does not" in text
    assert "last.ckpt" in text


def test_anew(run: Path, dataset: Any, without_figures: None) -> None:
    folder = run / "<b>lightgcn" / "seed_0"
    out = folder / "report"
    report(folder, dataset=dataset)
    first = files_of(out)
    (out / "mine.txt").write_text("kept")
    (out / "report.html").write_text("old")
    report(folder, dataset=dataset)
    assert files_of(out) == {**first, "mine.txt": b"kept"}
    assert [path.name for path in folder.glob(".*")] == []


def test_diverged_run(run: Path, dataset: Any) -> None:
    folder = run / "tmfun" / "seed_0"
    log = (folder / "metrics.csv").read_text()
    header, *rows = log.splitlines()
    columns = header.split(",")
    out = [header]
    for row in rows:
        cells = dict(zip(columns, row.split(","), strict=True))
        if cells["train_loss"] and cells["epoch"] != "0":
            cells["train_loss"] = "nan"
            cells["train_softmax"] = "inf"
        out.append(",".join(cells.values()))
    (folder / "metrics.csv").write_text("\n".join(out) + "\n")
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    weight = checkpoint["state_dict"]["model.item_embedding.weight"]
    weight.fill_(3e38)  # Whose sums are not finite.
    torch.save(checkpoint, folder / "best.ckpt")
    text = Reader(report(run / "tmfun", dataset=dataset)).text
    assert (
        "tmfun, seed 0: train_loss is not finite in 2 of 3 epochs, first in "
        "epoch 1." in text
    )
    assert text.count("hold NaN or infinity") == 5
    weight[3] = math.nan
    torch.save(checkpoint, folder / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt' must hold finite"):
        report(run / "tmfun", dataset=dataset)


def test_missing_columns(run: Path, dataset: Any) -> None:
    path = run / "<b>lightgcn" / "seed_0" / "metrics.csv"
    path.write_text("epoch,step,val_ndcg@7\n0,1,0.123\n1,2,0.11\n")
    text = Reader(report(path.parent, dataset=dataset)).text
    assert "<b>lightgcn, seed 0 1 \N{EN DASH} 0.1100" in text
    assert "NDCG@7" in text


def test_users_in_one_bin(run: Path, dataset: Any) -> None:
    other = copy.copy(dataset)
    data = copy.copy(dataset[0])
    store = data["user", "interacts", "item"]
    # One user is judged by one item.
    store.val_edge_label_index = store.val_edge_label_index[:, -1:]
    other.data = data
    path = run / "<b>lightgcn" / "seed_0" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["recommender"]["fingerprint"] = other.fingerprint
    torch.save(checkpoint, path)
    text = Reader(report(path.parent, dataset=other)).text
    assert "validation interactions 1 test" in text


def test_recorded_metrics(
    run: Path, tmp_path: Path, dataset: Any, without_figures: None
) -> None:
    of_lists = {"coverage@20": 0.9876, "gini@20": 0.5432}
    summary = {
        "versions": {"torch": "1.2.3-of-then"},
        "arguments": {"lr": 0.125, "<i>": ["a", "b"]},
        "results": {
            "most-popular": {"mean": {"test": {"recall@20": 0.0123}}},
            "tmfun": {
                "runs": [
                    {"seed": 0, "test": {"recall@20": 0.5, **of_lists}},
                    {"seed": 1, "test": {"recall@20": 0.7}},
                ]
            },
            "gone": {"mean": {"test": {"recall@20": 0.4567}}},
        },
    }
    (run / "metrics.json").write_text(json.dumps(summary))
    (run / "tmfun" / "seed_0" / "config.yaml").write_text("a: {b: why}\n")
    text = Reader(report(run, tmp_path / "a", dataset=dataset)).text
    assert "0.6000 ± 0.1414" in text
    assert "gone 1 0.4567" in text
    assert "0.9876" not in text  # It is not higher that is better.
    assert "most-popular 1 0.0123" in text
    for words in ("1.2.3-of-then", '"lr": 0.125', '"<i>": [', "a: {b: why}"):
        assert words in text

    # Only now is the test split read, where there is nothing written down.
    page = report(run, tmp_path / "b", split="test", dataset=dataset)
    text = Reader(page).text
    assert "evaluated on the test split" in text
    assert "0.6000 ± 0.1414" in text
    path = run / "<b>lightgcn" / "seed_0" / "best.ckpt"
    expected = Recommender.load(path, dataset).evaluate("test")["recall@20"]
    assert f"{expected:.4f}" in text
    name = "recall-20-test-split.png"
    assert (tmp_path / "b" / "figures" / name).exists()


def save_run(folder: Path, cls: Type[RankingModel], **options: Any) -> None:
    """An untrained model, with nothing but its metrics of the test."""
    source = DatasetOptions(**options)
    dataset = source.load()
    torch.manual_seed(0)
    model = cls.from_data(dataset[0], channels=8)
    folder.mkdir(parents=True)
    Recommender(model, dataset, source).save(folder / "best.ckpt")
    (folder / "metrics.json").write_text('{"test": {"recall@20": 0.5}}')


def test_runs_with_data_of_their_own(
    tmp_path: Path, monkeypatch: Any, without_figures: None
) -> None:
    """Runs on one log are compared, each with the data that it knows."""
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    for seed in (0, 1):
        root = tmp_path / f"log{seed}"
        write_files(root, seed)
        x = np.random.default_rng(0).normal(size=(40, 4))
        np.save(root / "textual_feat.npy", x.astype(np.float32))
    runs, root = tmp_path / "runs", str(tmp_path / "log0")
    every: Dict[str, Dict[str, Any]] = {
        "b_k3": {"k": 3},
        "a_visual": {"k": 3, "modalities": ["visual"]},
        "c_k4": {"k": 4},
        "d_half": {"k": 3, "half": True},
        "e_k3": {"k": 3},
    }
    for name, options in every.items():
        save_run(runs / name, TMFUN, root=root, name="toy", **options)
    save_run(runs / "f_gcn", LightGCN, root=root, name="toy")
    loaded = []
    load = DatasetOptions.load

    def remember(self: DatasetOptions) -> Any:
        loaded.append(self)
        return load(self)

    monkeypatch.setattr(DatasetOptions, "load", remember)
    text = Reader(report(runs)).text
    assert len(loaded) == 5  # One for both of the same source.
    assert "textual (4 features, 40 items), visual (8 features" in text
    data = ToRecGraph()(load(DatasetOptions(root, "toy"))[0])
    for name in every:
        rec = Recommender.load(runs / name / "best.ckpt")
        recall = f"{rec.evaluate('val')['recall@20']:.4f}"
        found = evaluate(rec.scorer, data, "val", beyond_accuracy=True)
        assert re.search(rf"{name} 1 [0-9. ]*{recall}", text), name
        # By the same features for all:
        assert re.search(
            rf"{name} [0-9. ]*{found['diversity@20']:.4f}", text
        ), name

    other = {"root": str(tmp_path / "log1"), "name": "toy", "k": 3}
    served = {**every["b_k3"], "root": root, "name": "toy"}
    for options, name in (
        (other, "MultimodalRecDataset 'toy'"),
        (
            {**served, "on_all_data": True},
            "MultimodalRecDataset 'toy', all of it for training",
        ),
    ):
        save_run(runs / "g", TMFUN, **options)
        message = (
            r"one log and split \(got '.*/a_visual' on MultimodalRecDataset "
            rf"'toy' and '.*/g' on {name}\); give a folder"
        )
        with pytest.raises(ValueError, match=message):
            report(runs)
        shutil.rmtree(runs / "g")
    write_files(tmp_path / "log0", seed=1)
    message = r"'.*/a_visual/best\.ckpt': '.*/log0' must hold the data"
    with pytest.raises(ValueError, match=message):
        report(runs)


def test_bad_arguments(run: Path, tmp_path: Path, dataset: Any) -> None:
    with pytest.raises(ValueError, match=r"'split' must be .* \(got 'all'\)"):
        report(run, split="all", dataset=dataset)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"'out' must be a folder"):
        report(run, tmp_path / "file", dataset=dataset)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no run"):
        report(tmp_path / "empty", dataset=dataset)
    assert list((tmp_path / "empty").iterdir()) == []
    path = run / "tmfun" / "seed_0" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"seed_0/best\.ckpt' cannot be read"):
        report(run, dataset=dataset)
    assert not (run / "report").exists()


def test_without_matplotlib(trained: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tmfun-pyg\[plot\]"):
        report(trained)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(
    CHROMIUM is None, reason="neither chromium nor google-chrome is installed"
)
def test_in_a_browser(page: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    picture = tmp_path / "page.png"
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--v=0",
        f"--screenshot={picture}",
        "--window-size=400,4000",  # A phone, on which nothing sticks out.
    ]
    done = subprocess.run(
        [CHROMIUM, *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # Errors of the page, what its security policy has refused included:
    assert "CONSOLE" not in done.stderr
    pixels = matplotlib.image.imread(picture)[..., :3] * 255
    assert pixels[2, 2].round().tolist() == [0xF5, 0xF7, 0xF9]
    # The figures are loaded: there are bars in their blue.
    blue = np.abs(pixels - [0, 0x72, 0xB2]).max(axis=2) < 3
    assert blue[1000:].mean() > 1e-4

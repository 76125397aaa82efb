import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, List

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("results_page")


def write_run(
    runs: Path, place: str, recall: float, ndcg: float, seed: int = 0, **entries
) -> None:
    """Writes a run file; a label is MODEL or MODEL-variant."""
    data, label = place.split("/")
    metrics = {
        f"{name}@{k}": value
        for name, value in (("recall", recall), ("ndcg", ndcg))
        for k in (10, 20, 50)
    }
    sizes = {"users": 1000, "items": 20, "train": 70, "val": 8, "test": 9}
    run = {
        "model": label.split("-")[0],
        "data": {
            "name": data,
            "interactions_sha256": data,
            "modalities": {},
            **sizes,
        },
        "seed": seed,
        "val": metrics,
        "test": metrics,
        "search": {},
        **{key: {} for key in ("params", "settings")},
        "versions": {"torch": "2.13.0", "torch_geometric": "2.8.1"},
        "hardware": {"cpu": "EPYC", "cores": 2},
        **dict.fromkeys(("commit", "command"), ""),
        **dict.fromkeys(("epochs", "seconds", "parameters"), 3),
        "best_epoch": 1,
        **entries,
    }
    path = runs / place / f"seed_{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    out = tmp_path / "runs"
    write_run(out, "a/TMFUN", 0.5, 0.3)
    write_run(out, "a/TMFUN", 0.7, 0.3, seed=1)
    write_run(out, "a/TMFUN-mean", 0.9, 0.9)
    write_run(out, "a/EASE", 0.55, 0.3, search={"trials": 16})
    write_run(out, "a/LightGCN", 0.4, 0.35, search={"trials": 4})
    write_run(out, "b/TMFUN", 0.4, 0.2)
    write_run(out, "b/EASE", 0.3, 0.1, search={"trials": 16})
    return out


def make(page: ModuleType, monkeypatch: Any, runs: Path, *args: str) -> str:
    out = runs.parent / "docs"
    command = ["results_page.py", "--runs", str(runs), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, *args])
    page.main()
    return (out / "results.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> List[str]:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0].splitlines()


def test_seconds(page: ModuleType, monkeypatch: Any, runs: Path) -> None:
    """Up to the second of three epochs, each of a second, on a GPU or not."""
    write_run(runs, "b/TMFUN", 0.4, 0.2, hardware={"gpu": "one"})
    # One of another kind has no part in the mean:
    write_run(runs, "b/TMFUN", 0.4, 0.2, seed=1, seconds=90)
    write_run(runs, "b/EASE", 0.3, 0.1, epochs=0, best_epoch=None)
    text = make(page, monkeypatch, runs)
    lines = section(text, "Seconds to the best epoch")
    assert "| TMFUN | 2 | 2 (GPU) |" in lines
    assert "| EASE | 2 | 3 |" in lines


def test_places(page: ModuleType, monkeypatch: Any, runs: Path) -> None:
    """Commits by model and set, variants too, on which hardware."""
    gpu = {"cpu": "Xeon", "cores": 16, "gpu": "H200"}
    old = {"torch": "2.11.0", "torch_geometric": "2.8.1"}
    write_run(runs, "a/TMFUN", 0.5, 0.3, commit="0123456789")
    write_run(runs, "a/TMFUN", 0.7, 0.3, 1, commit="0123456abc")
    write_run(
        runs, "a/TMFUN", 0.7, 0.3, 2, commit="a" * 9, hardware=gpu, versions=old
    )
    write_run(runs, "a/TMFUN-mean", 0.9, 0.9, commit="b" * 9, hardware=gpu)
    write_run(runs, "b/TMFUN", 0.4, 0.2, commit="c" * 9)
    lines = section(make(page, monkeypatch, runs), "Where the runs were made")
    assert "| TMFUN | 0123456, aaaaaaa (GPU) | ccccccc |" in lines
    assert "| TMFUN-mean | bbbbbbb (GPU) |  |" in lines
    assert (
        "GPU: H200; CPU: EPYC (2 cores); torch: 2.11.0 or 2.13.0; "
        "torch_geometric: 2.8.1."
    ) in lines[1]


def test_page(page: ModuleType, monkeypatch: Any, runs: Path) -> None:
    text = make(page, monkeypatch, runs)
    # What is level does not win either, and variants are no rivals:
    assert (
        "**Where TMFUN does not win**, of these models: in Recall@20 nowhere; "
        "in NDCG@20 on a (0.3000 against 0.3500 of LightGCN, 0.3000 of EASE)."
    ) in text
    assert "| TMFUN | 0.6000 ± 0.1414 | 0.4000 | 1.00 | 1.21 |" in text
    assert section(text, "Recall@20")[-1].startswith("| TMFUN |")
    lines = section(text, "a")
    assert (
        "1,000 users, 20 items, 70 / 8 / 9 interactions for training / "
        "validation / test. Trials in the search for options, at most (0: "
        "none, so the defaults or what the command of the run sets): 0 for "
        "TMFUN; 4 for LightGCN; 16 for EASE."
    ) in lines
    rows = [line for line in lines if line.startswith("| ")]
    labels = [row.split(" | ")[0] for row in rows[2:]]
    assert labels == ["| LightGCN", "| EASE", "| TMFUN"]
    assert rows[-1].startswith("| TMFUN | 2 | 0.6000 ± 0.1414 | 0.6000 ±")
    assert section(text, "Variants of TMFUN")[-6:] == [
        "NDCG@20:",
        "",
        "| model | a |",
        "| --- | --- |",
        "| TMFUN | 0.3000 ± 0.0000 (2) |",
        "| TMFUN-mean | 0.9000 (1) |",
    ]
    assert "**Where" not in "".join(section(text, "b"))


def test_paired(page: ModuleType, monkeypatch: Any, runs: Path) -> None:
    """Where the metrics of all users are there, they are compared."""
    assert "against the others" not in make(page, monkeypatch, runs)
    recall = {"TMFUN": 0.5, "EASE": 0.25}
    for label, value in recall.items():
        np.savez(
            runs / "b" / label / "seed_0.npz",
            user=np.arange(100),
            recall=np.full(100, value),
            ndcg=np.arange(100) % 2,
        )
    text = make(page, monkeypatch, runs)
    lines = section(text, "TMFUN against the others")
    # Level in NDCG, which no resample tells from zero:
    assert [line for line in lines if line.startswith("| EASE")] == [
        "| EASE |  | +0.2500 (0.0004) |",
        "| EASE |  | +0.0000 (1.0000) |",
    ]
    assert "| model | a | b |" in lines
    assert "Ahead, but" not in text
    path = runs / "b" / "EASE" / "seed_0.npz"
    np.savez(
        path,
        user=np.arange(100),
        recall=np.arange(100) < 49,
        ndcg=np.arange(100) % 2 + 0.5,
    )
    assert (
        "Ahead, but with p of 0.05 or more: Recall@20 on b against EASE (0.92)."
    ) in make(page, monkeypatch, runs)


def test_charts(page: ModuleType, monkeypatch: Any, runs: Path) -> None:
    text = make(page, monkeypatch, runs)
    charts = re.findall(r"!\[.*\]\((.*)\)", text)
    assert charts == ["images/results-a.svg", "images/results-b.svg"]
    first, second = ((runs.parent / "docs" / chart) for chart in charts)
    svg = first.read_text()
    shown = re.findall(r">([^<>]+)</text>", svg)
    assert {"TMFUN", "EASE", "LightGCN", "test R@20"} <= set(shown)
    assert "TMFUN-mean" not in shown
    # An error bar each for the two metrics of the only model with two seeds:
    bars = re.findall(r'<g id="LineCollection_\d+">\s*<path', svg)
    assert len(bars) == 2
    assert svg.count("#ff7f0e") == 2
    # The same runs make the same files:
    before = svg, second.read_text(), text
    assert make(page, monkeypatch, runs) == before[2]
    assert (first.read_text(), second.read_text()) == before[:2]


def test_without_the_reference(
    page: ModuleType, monkeypatch: Any, runs: Path
) -> None:
    text = make(page, monkeypatch, runs, "--reference", "LightGCN")
    assert (
        "in Recall@20 on a (0.4000 against 0.9000 of TMFUN-mean, 0.6000 of "
        "TMFUN, 0.5500 of EASE), b (not run); in NDCG@20 on a (0.3500 against "
        "0.9000 of TMFUN-mean), b (not run)."
    ) in text
    assert "Variants" not in text


def test_nothing_is_written(
    page: ModuleType, monkeypatch: Any, runs: Path, capsys: Any
) -> None:
    def check(*args: Any) -> str:
        with pytest.raises(SystemExit):
            make(page, monkeypatch, *args)
        assert not (runs.parent / "docs").exists()
        return capsys.readouterr().err.splitlines()[-1]

    assert check(runs / "no").endswith(f"runs (got '{runs / 'no'}')")
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    assert check(runs).endswith('pip install "tmfun-pyg[plot]"')

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from tmfun_pyg.report._runs import read_curves, read_runs

LOG = """\
epoch,step,lr,train_bpr,train_loss,val_ndcg@20,val_recall@20
,3,0.1,,,,
0,9,,,,0.10,0.20
0,9,,0.6,0.7,,
1,19,,,,0.30,0.25
1,19,,0.5,nan,,
2,29,,,,0.40,0.25
2,29,,0.4,0.5,,
"""


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def test_curves(tmp_path: Path) -> None:
    curves = read_curves(write(tmp_path / "metrics.csv", LOG))
    assert list(curves) == [
        "train_bpr",
        "train_loss",
        "val_ndcg@20",
        "val_recall@20",
    ]
    assert curves["train_bpr"] == {0: 0.6, 1: 0.5, 2: 0.4}
    assert curves["val_ndcg@20"] == {0: 0.1, 1: 0.3, 2: 0.4}
    assert math.isnan(curves["train_loss"][1])
    assert curves["train_loss"][2] == 0.5


def test_later_row_of_an_epoch_counts(tmp_path: Path) -> None:
    log = "epoch,step,val_recall@20\n0,1,0.5\n1,2,0.6\n0,1,0.4\n\n"
    curves = read_curves(write(tmp_path / "metrics.csv", log))
    assert curves == {"val_recall@20": {0: 0.4, 1: 0.6}}


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (None, "metrics.csv': found no such file"),
        ("", "metrics.csv': found the columns"),
        ("step,val_recall@20\n1,1\n", "expected 'epoch' among them"),
        ("epoch,step,train_loss\n0,1,2\n", "found no row of validation"),
        ("epoch,val_recall@20\n0,\n", "found no row of validation"),
        ("epoch,val_recall@20\n0,1\n1,x\n", "line 3, column 'val_recall@20'"),
        ("epoch,val_recall@20\nx,1\n", "line 2, column 'epoch': found 'x'"),
        ("epoch,val_recall@20\n0,1\n1\n", "line 3: found 1 cells, expected 2"),
    ],
)
def test_bad_log(tmp_path: Path, log: Any, message: str) -> None:
    if log is not None:
        write(tmp_path / "metrics.csv", log)
    with pytest.raises(ValueError, match=r"metrics\.csv") as error:
        read_curves(tmp_path / "metrics.csv")
    assert message in str(error.value)


def test_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write(folder / "metrics.csv", LOG)
    write(folder / "metrics.json", {"test": {"recall@20": 0.3}, "seed": 4})
    write(
        folder / "config.yaml",
        "model:\n  class: !!python/object:os.x TMFUN\n"
        "  sizes: [1, 2]\nlist:\n- a: 1e-3\n- b: null\nempty: {}\n",
    )
    runs = read_runs(folder)
    (run,) = runs.models["mine"]
    assert (run.name, run.seed, run.label) == ("mine", None, "mine")
    assert run.last_epoch == 2
    assert run.best_epoch == 1  # The first of two equals.
    assert run.validation == {"ndcg@20": 0.3, "recall@20": 0.25}
    assert run.recorded == {"test": {"recall@20": 0.3}}
    with pytest.raises(ValueError, match="mine': found no checkpoint"):
        _ = run.checkpoint
    write(folder / "last.ckpt", "")
    assert run.checkpoint.name == "last.ckpt"
    write(folder / "best.ckpt", "")
    assert run.checkpoint.name == "best.ckpt"
    sizes = {
        "model.class": "TMFUN",
        "model.sizes": "1, 2",
        "list.0.a": "1e-3",
        "list.1.b": "null",
        "empty": "none",
    }
    assert runs.options == {"config.yaml": sizes}
    assert runs.versions == {}


def test_without_the_monitored_column(tmp_path: Path) -> None:
    log = "epoch,step,val_ndcg@5\n0,1,0.5\n1,2,0.4\n"
    write(tmp_path / "metrics.csv", log)
    (run,) = read_runs(tmp_path).models[tmp_path.name]
    assert run.best_epoch is None
    assert run.validation == {"ndcg@5": 0.4}
    log = "epoch,step,val_recall@20\n0,1,nan\n1,2,nan\n"
    write(tmp_path / "metrics.csv", log)
    (run,) = read_runs(tmp_path).models[tmp_path.name]
    assert run.best_epoch is None


def test_several_runs(tmp_path: Path) -> None:
    for name in ("tmfun/seed_10", "tmfun/seed_2", "x/deep/other", "lightgcn"):
        write(tmp_path / name / "metrics.csv", LOG)
        os.utime(tmp_path / name / "metrics.csv", (0, 0))
    # A run holds no other runs:
    write(tmp_path / "lightgcn" / "old" / "metrics.csv", LOG)
    write(tmp_path / "x" / "deep" / "other" / "hparams.yaml", "lr: 0.1\n")
    recorded = {"test": {"recall@20": 0.7}}
    write(
        tmp_path / "metrics.json",
        {
            "versions": {"torch": "9"},
            "arguments": {"seeds": [2, 10]},
            "results": {
                "most-popular": {"mean": {"test": {"recall@20": 0.1}}},
                "tmfun": {"runs": [{"seed": 2, **recorded}], "mean": {}},
                "gone": {"runs": [{"seed": 0, **recorded}]},
            },
        },
    )
    runs = read_runs(tmp_path)
    assert list(runs.models) == ["tmfun", "lightgcn", "x/deep/other"]
    first, second = runs.models["tmfun"]
    assert (first.seed, second.seed) == (2, 10)
    assert first.label == "tmfun, seed 2"
    assert first.recorded == recorded
    assert second.recorded == {}
    assert runs.others == {
        "most-popular": [{"test": {"recall@20": 0.1}}],
        "gone": [recorded],
    }
    assert runs.versions == {"torch": "9"}
    assert runs.options == {
        "metrics.json": {"seeds": "2, 10"},
        "x/deep/other/hparams.yaml": {"lr": "0.1"},
    }
    assert runs.date == "1970-01-01 00:00 UTC"

    for folder in (tmp_path / "tmfun", tmp_path / "tmfun" / "seed_2"):
        assert list(read_runs(folder).models) == ["tmfun"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "{", "found no JSON"),
        ("metrics.json", "[" * 100_000, "found no JSON"),
        ("metrics.json", [], "type 'list', expected an object"),
        ("metrics.json", {"test": 1}, "type 'int', expected metrics by split"),
        ("metrics.json", {"test": {"a": "b"}}, "'test', 'a': found a value"),
        ("config.yaml", "a: [", "found no YAML"),
        ("config.yaml", "- a", "type 'list', expected options by name"),
        ("config.yaml", "a: &a [[1], [2]]\nb: &b [*a, *a]\n", None),
        (
            "config.yaml",
            "a: &x0 [[1]]\n"
            + "".join(
                f"b{i}: &x{i + 1} [{', '.join([f'*x{i}'] * 10)}]\n"
                for i in range(12)
            ),
            "found more than 10000 options",
        ),
        ("config.yaml", "a: &a [*a, [1]]\n", "found no YAML"),
    ],
)
def test_bad_files(
    tmp_path: Path, file: str, content: Any, message: Any
) -> None:
    write(tmp_path / "metrics.csv", LOG)
    write(tmp_path / file, content)
    if message is None:
        read_runs(tmp_path)
        return
    with pytest.raises(ValueError, match=message) as error:
        read_runs(tmp_path)
    assert str(tmp_path / file) in str(error.value)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no such folder"):
        read_runs(tmp_path / "none")
    with pytest.raises(ValueError, match=r"found no run, expected a folder"):
        read_runs(tmp_path)
    write(tmp_path / "a" / "best.ckpt", "")
    with pytest.raises(ValueError, match=r"a/metrics.csv': found no such fil"):
        read_runs(tmp_path)

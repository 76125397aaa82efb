import json
import math
from pathlib import Path
from typing import Any

import pytest

from tmfun_pyg.report.runs import read_curves, read_runs

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
        (None, "line 1: .*No such file"),
        ("", "holds no validation"),
        ("step,val_recall@20\n1,1\n", "line 2: .*KeyError: 'epoch'"),
        ("epoch,step,train_loss\n0,1,2\n", "holds no validation"),
        ("epoch,val_recall@20\n0,\n", "holds no validation"),
        ("epoch,val_recall@20\n0,1\n1,x\n", "line 3: .*to float: 'x'"),
        ("epoch,val_recall@20\nx,1\n", "line 2: .*int.*: 'x'"),
        ("epoch,val_recall@20\n0,1\n1\n", "line 3: .*'missing'"),
        ("epoch,val_recall@20\n0,1\n1,1,1\n", "line 3: .*TypeError"),
        ("epoch,val_recall@20\n0,\ud800\n", "line 1: .*UnicodeDecode"),
    ],
)
def test_bad_log(tmp_path: Path, log: Any, message: str) -> None:
    path = tmp_path / "metrics.csv"
    if log is not None:
        path.write_bytes(log.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=rf"metrics\.csv'.*{message}") as error:
        read_curves(path)
    assert "\n" not in str(error.value)


def test_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write(folder / "metrics.csv", LOG)
    write(folder / "metrics.json", {"test": {"recall@20": 0.3}, "seed": 4})
    write(folder / "config.yaml", "model:\n  channels: 8\n")
    write(folder / "hparams.yaml", "lr: 0.1\n")
    runs = read_runs(folder)
    (run,) = runs.models["mine"]
    assert (run.name, run.seed, run.label) == ("mine", None, "mine")
    assert run.last_epoch == 2
    assert run.best_epoch == 1  # The first of two equals.
    assert run.metrics("val") == {"ndcg@20": 0.3, "recall@20": 0.25}
    assert run.metrics("test") == {"recall@20": 0.3}
    with pytest.raises(ValueError, match=r"mine' holds none of .*best\.ckpt"):
        _ = run.checkpoint
    write(folder / "last.ckpt", "")
    assert run.checkpoint.name == "last.ckpt"
    write(folder / "best.ckpt", "")
    assert run.checkpoint.name == "best.ckpt"
    assert runs.options == {"config.yaml": "model:\n  channels: 8\n"}


def test_without_the_monitored_column(tmp_path: Path) -> None:
    log = "epoch,step,val_ndcg@5\n0,1,0.5\n1,2,0.4\n"
    write(tmp_path / "metrics.csv", log)
    (run,) = read_runs(tmp_path).models[tmp_path.name]
    assert run.best_epoch is None
    assert run.metrics("val") == {"ndcg@5": 0.4}
    log = "epoch,step,val_recall@20\n0,1,nan\n1,2,nan\n"
    write(tmp_path / "metrics.csv", log)
    (run,) = read_runs(tmp_path).models[tmp_path.name]
    assert run.best_epoch is None


def test_several_runs(tmp_path: Path) -> None:
    for name in ("tmfun/seed_10", "tmfun/seed_2", "x/deep/other", "lightgcn"):
        write(tmp_path / name / "metrics.csv", LOG)
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
    assert runs.results("test") == {
        "tmfun": [{"recall@20": 0.7}],
        "most-popular": [{"recall@20": 0.1}],
        "gone": [{"recall@20": 0.7}],
    }
    assert [len(seeds) for seeds in runs.results("val").values()] == [2, 1, 1]
    assert json.loads(runs.options.pop("metrics.json")) == {
        "arguments": {"seeds": [2, 10]},
        "versions": {"torch": "9"},
    }
    assert runs.options == {"x/deep/other/hparams.yaml": "lr: 0.1\n"}

    for folder in (tmp_path / "tmfun", tmp_path / "tmfun" / "seed_2"):
        assert list(read_runs(folder).models) == ["tmfun"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        [],
        {"test": 1},
        {"test": {"a": "b"}},
        {"results": {"tmfun": []}},
        {"results": {"tmfun": {"runs": [1]}}},
    ],
)
def test_bad_metrics(tmp_path: Path, content: Any) -> None:
    write(tmp_path / "metrics.csv", LOG)
    write(tmp_path / "metrics.json", content)
    message = r"metrics\.json' does not hold metrics by split"
    with pytest.raises(ValueError, match=message) as error:
        read_runs(tmp_path)
    assert "\n" not in str(error.value)


def test_metrics_of_a_sample_are_told(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", LOG)
    content = {"val": {"recall@20": 0.3}, "val_users": 20_000}
    write(tmp_path / "metrics.json", content)
    with pytest.warns(UserWarning, match="on a sample of 20,000 users: tmfun"):
        ((run,),) = read_runs(tmp_path).models.values()
    assert run.written == {"val": {"recall@20": 0.3}}


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none' holds no run"):
        read_runs(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no run"):
        read_runs(tmp_path)
    write(tmp_path / "a" / "best.ckpt", "")
    with pytest.raises(ValueError, match=r"a/metrics\.csv', line 1: .*No such"):
        read_runs(tmp_path)


def test_run_on_all_data_is_left_out(tmp_path: Path) -> None:
    log = "epoch,step,train_loss\n0,1,0.5\n"
    write(tmp_path / "all" / "metrics.csv", log)
    write(tmp_path / "all" / "config.yaml", "lr: 0.1\non_all_data: true\n")
    write(tmp_path / "one" / "metrics.csv", LOG)
    write(tmp_path / "one" / "config.yaml", "lr: 0.1\non_all_data: false\n")
    with pytest.warns(UserWarning, match="all' is left out: it was trained on"):
        assert [*read_runs(tmp_path).models] == ["one"]
    with pytest.raises(ValueError, match="holds no validation"):
        read_runs(tmp_path / "all")

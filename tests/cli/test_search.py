import json
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import optuna
import pytest
import yaml
from toy_files import write_files

from tmfun_pyg.cli.main import main
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.utils.locked import locked

FAST = [
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar"),
    *("false", "--data.k", "3", "--loader.batch_size", "64"),
    *("--trainer.max_epochs", "2"),
]
LIGHTGCN = ["--model", "LightGCN", "--model.channels", "8"]
pytestmark = pytest.mark.usefixtures("folder")


def search(out: str, budget: int, *options: str, root: str = "toy") -> int:
    return main(
        [
            *("search", "--data.root", root, "--out", out, *FAST),
            *("--budget", str(budget), *options),
        ]
    )


def read_config(out: str) -> Dict[str, Any]:
    return yaml.safe_load(Path(out, "config.yaml").read_text())


def trials(out: str) -> List[Any]:
    storage = f"sqlite:///{out}/studies.db"
    study = optuna.load_study(study_name="search", storage=storage)
    return [x for x in study.trials if x.state.is_finished() and x.values]


def test_config_is_taken_by_fit(capsys: Any) -> None:
    assert search("found", 3, *LIGHTGCN, "--lr", "0.02") == 0
    out = capsys.readouterr().out
    assert "trial 3 of 3" in out
    path = Path("found/config.yaml").absolute()
    assert out.endswith(f"  tmfun fit --config {path}\n")
    # What is given is tried first, with the model's own defaults:
    done = trials("found")
    assert done[0].params == {
        **{"lr": 0.02, "softmax_negatives": 0},
        **{"reg_weight": 1e-4, "num_layers": 3, "channels": 8},
    }
    best = max(done, key=lambda trial: trial.value)
    config = read_config("found")
    options = {**config["model"]["init_args"], "lr": config["lr"]}
    assert options.items() >= best.params.items()
    assert config["data"]["name"] == "toy"
    assert config["trainer"]["max_epochs"] == 2

    # The run is that of the trial:
    assert main(["fit", "--config", "found/config.yaml"]) == 0
    run = Path("runs/toy/LightGCN/seed_0")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val"]["recall@20"] == pytest.approx(best.value)
    assert (
        yaml.safe_load((run / "config.yaml").read_text())["model"]
        == (config["model"])
    )


def test_a_trial_that_diverges_does_not_end_the_search(capsys: Any) -> None:
    assert search("found", 2, *LIGHTGCN, "--lr", "1e30") == 0
    assert "lr 1e+30" in (out := capsys.readouterr().out)
    assert ": diverged\n" in out
    assert read_config("found")["lr"] < 1


def test_closed_form(capsys: Any) -> None:
    assert search("found", 100, "--model", "EASE") == 0
    told = "EASE is not trained by gradient descent: --loader.batch_size, "
    assert capsys.readouterr().err.count(told) == 1
    config = read_config("found")
    best = max(trials("found"), key=lambda trial: trial.value)
    assert len(trials("found")) == 9
    assert config["model"] == {
        "class_path": "tmfun_pyg.baselines.EASE",
        "init_args": best.params,
    }
    assert main(["fit", "--config", "found/config.yaml"]) == 0
    metrics = Path("runs/toy/EASE/seed_0/metrics.json").read_text()
    assert json.loads(metrics)["val"]["recall@20"] == best.value


def test_fixed(capsys: Any) -> None:
    fixed = ["--fixed", "lr", "num_layers", "--model.num_layers", "1"]
    assert search("found", 2, *LIGHTGCN, *fixed) == 0
    for trial in trials("found"):
        assert set(trial.params) == {
            *("channels", "reg_weight", "softmax_negatives")
        }
    config = read_config("found")
    assert (config["lr"], config["model"]["init_args"]["num_layers"]) == (
        *(2e-3, 1),
    )
    assert search("x", 2, *LIGHTGCN, "--fixed", "sparse") == 1
    assert "--fixed must be of lr, " in capsys.readouterr().err
    assert search("x", 2, "--model", "EASE", "--fixed", "reg_weight") == 1
    assert "--fixed must leave an option" in capsys.readouterr().err


def test_killed_search_goes_on(monkeypatch: Any, capsys: Any) -> None:
    assert search("whole", 3, *LIGHTGCN) == 0
    handler = signal.getsignal(signal.SIGINT)
    step = RecommenderModule.training_step

    def interrupted(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and len(trials("parts")) == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(RecommenderModule, "training_step", interrupted)
            assert search("parts", 3, *LIGHTGCN) == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it now.
    assert "give the same command again" in capsys.readouterr().err
    assert not Path("parts/config.yaml").exists()
    assert search("parts", 3, *LIGHTGCN) == 0
    out = capsys.readouterr().out
    assert "trial 3 of 3" in out
    assert "trial 2 of 3" not in out
    whole, parts = (
        [(x.params, x.value) for x in trials(name)]
        for name in ("whole", "parts")
    )
    assert whole == parts
    assert read_config("parts") == read_config("whole")
    # A larger budget goes on, too.
    assert search("whole", 4, *LIGHTGCN) == 0
    assert [(x.params, x.value) for x in trials("whole")][:3] == whole


def test_other_conditions(capsys: Any) -> None:
    assert search("found", 1, *LIGHTGCN) == 0
    for options, message in (
        (["--model", "EASE"], "with the model tmfun_pyg.baselines.EASE"),
        ([*LIGHTGCN, "--patience", "3"], "settings {'patience': 3}"),
        ([*LIGHTGCN, "--model.channels", "4"], "the space {'channels': [4, "),
    ):
        assert search("found", 1, *options) == 1
        error = capsys.readouterr().err
        assert "found/studies.db: search must have been made" in error
        assert message in error
        assert len(error.splitlines()) == 1
    write_files(Path("toy"), seed=1)
    assert search("found", 1, *LIGHTGCN) == 1
    assert "with the data {'fingerprint': " in capsys.readouterr().err
    # What makes no difference is not compared.
    write_files(Path("toy"))
    options = ["--trainer.enable_model_summary", "true"]
    assert search("found", 1, *LIGHTGCN, *options) == 0


def test_test_split_does_not_choose() -> None:
    options = [*LIGHTGCN, "--lr", "0.02"]
    assert search("plain", 3, *options) == 0
    Path("other").mkdir()
    text = Path("toy/toy.inter").read_text().splitlines()
    changed = [
        "\t".join([line.split("\t")[0], "0", "2"])
        if line.endswith("\t2")
        else line
        for line in text
    ]
    Path("other/other.inter").write_text("\n".join(changed) + "\n")
    np.save("other/visual_feat.npy", np.load("toy/visual_feat.npy"))
    assert search("poisoned", 3, *options, root="other") == 0
    plain, poisoned = (
        [(x.params, x.value) for x in trials(name)]
        for name in ("plain", "poisoned")
    )
    assert plain == poisoned


def test_folder_of_a_run(capsys: Any) -> None:
    assert search("found", 1, *LIGHTGCN) == 0
    config = Path("found/config.yaml").read_text()
    args = ["--config", "found/config.yaml", "--out"]
    assert main(["fit", *args, "found"]) == 1
    error = capsys.readouterr().err
    assert "without a run or a search" in error
    assert "--resume" not in error
    assert Path("found/config.yaml").read_text() == config
    assert main(["fit", *args, "run"]) == 0
    before = Path("run/config.yaml").read_text()
    assert search("run", 1, *LIGHTGCN) == 1
    assert "run', which holds best.ckpt)" in capsys.readouterr().err
    assert Path("run/config.yaml").read_text() == before


def test_failures(monkeypatch: Any, capsys: Any) -> None:
    assert search("x", 1, "--model", "MostPopular") == 1
    assert "--model must be one of BPRMF, " in capsys.readouterr().err
    Path("toy/visual_feat.npy").rename("visual.npy")
    assert search("z", 1, "--model", "TMFUN") == 1
    assert "features of items for TMFUN (got none)" in capsys.readouterr().err
    assert not Path("z/studies.db").exists()
    Path("visual.npy").rename("toy/visual_feat.npy")
    assert search("x", 0, *LIGHTGCN) == 1
    assert "--budget must be at least 1" in capsys.readouterr().err
    for options, message in (
        (["max_epochs", "0"], "--trainer.max_epochs must not be 0"),
        (["limit_val_batches", "0"], "--trainer.limit_val_batches must not"),
    ):
        args = [f"--trainer.{options[0]}", options[1]]
        assert search("new", 1, *LIGHTGCN, *args) == 1
        assert message in capsys.readouterr().err
    assert search("new", 1, *LIGHTGCN, "--fixed", "depth") == 1
    assert search("new", 1, root="nowhere") == 1
    assert not Path("new").exists()
    with locked(Path("x/lock")):
        assert search("x", 1, *LIGHTGCN) == 1
    assert "x: another process is at work" in capsys.readouterr().err
    Path("run").mkdir()
    Path("run/config.yaml").write_text("")
    assert search("run", 1, *LIGHTGCN) == 1
    assert "--out must be a new folder" in capsys.readouterr().err
    assert main(["search", "--model", "LightGCN"]) == 2
    assert "--out must be given" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search("y", 1, *LIGHTGCN) == 1
    assert 'pip install "tmfun-pyg[search]"' in capsys.readouterr().err

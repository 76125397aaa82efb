import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
import yaml

from tmfun_pyg.cli.main import main
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import DatasetOptions, RecommenderModule
from tmfun_pyg.training.checkpoint import read_checkpoint
from tmfun_pyg.utils.locked import locked

FAST = [
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar"),
    *("false", "--data.k", "3", "--loader.batch_size", "64"),
]
pytestmark = pytest.mark.usefixtures("folder")


def fit(out: str, epochs: int, *options: str, root: str = "toy") -> int:
    return main(
        [
            *("fit", "--data.root", root, "--out", out, *FAST),
            *("--trainer.max_epochs", str(epochs), *options),
        ]
    )


def read_log(folder: str) -> bytes:
    return Path(folder, "metrics.csv").read_bytes()


def read(path: str) -> Dict[str, Any]:
    return torch.load(path, weights_only=True)


def rows(path: str) -> List[Dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same(path: str, other: str) -> None:
    weights = read(other)["state_dict"]
    for name, weight in read(path)["state_dict"].items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize(
    ("model", "has_graphs"),
    [("TMFUN", True), ("VBPR", False), ("LightGCN", False), ("EASE", False)],
)
def test_feature_graphs_are_for_models_that_read_them(
    model: str, has_graphs: bool
) -> None:
    options = [] if model == "EASE" else ["--trainer.max_epochs", "1"]
    args = ["fit", "--data.root", "toy", "--out", "run", "--data.k", "3"]
    assert main([*args, "--model", model, *options]) == 0
    data = Recommender.load("run/best.ckpt").dataset[0]
    found = [relation for _, relation, _ in data.edge_types]
    assert any(name.startswith("similar_") for name in found) == has_graphs
    assert "x_visual" in data["item"]


def test_models_with_and_without_feature_graphs_in_one_report() -> None:
    for model in ("LightGCN", "TMFUN"):
        args = ["fit", "--config", "synthetic", "--model", model, *FAST[:4]]
        args += ["--trainer.max_epochs", "1", "--out", f"all/{model}"]
        assert main(args) == 0
    assert main(["report", "--run", "all"]) == 0
    figures = {path.name for path in Path("all/report/figures").iterdir()}
    assert any("tmfun-weights-over-items" in name for name in figures)


def test_options_of_feature_graphs_are_checked(capsys: Any) -> None:
    """Also for a model that reads none."""
    args = ["fit", "--data.root", "toy", "--out", "run", "--model", "EASE"]
    assert main([*args, "--data.k", "0"]) != 0
    assert "--data.k must be at least 1 (got 0)" in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize("model", ["TMFUN", "EASE"])
def test_a_dry_run_leaves_nothing(folder: Path, model: str) -> None:
    options = ("--model", model, "--trainer.fast_dev_run", "true")
    assert fit("run", 3, *options) == 0
    assert not (folder / "run").exists()


def test_a_closed_form_says_what_it_does_not_read(capsys: Any) -> None:
    args = ["fit", "--data.root", "toy", "--model", "EASE", "--out"]
    read = ["--loader.val_users", "5", "--seed_everything", "1"]
    assert main([*args, "a", *read]) == 0
    assert "warning" not in capsys.readouterr().err
    unread = ["--lr", "0.1", "--trainer.max_epochs", "3"]
    assert main([*args, "b", *read, *unread]) == 0
    assert capsys.readouterr().err == (
        "warning: EASE is not trained by gradient descent: --lr, "
        "--trainer.max_epochs have no effect\n"
    )


@pytest.mark.parametrize("command", ["fit", "search"])
def test_options_that_make_no_trainer(command: str, capsys: Any) -> None:
    args = ["--data.root", "toy", "--out", "run", *FAST]
    assert main([command, *args, "--trainer.devices", "foo"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a --trainer option has a value of the wrong type: `dev" in error
    assert not any(Path("run").glob("*.ckpt"))
    assert not any(Path("run").glob("*.db"))


def test_similar_items_are_for_sampled_neighborhoods(capsys: Any) -> None:
    assert fit("run", 1, "--loader.num_similar", "2") == 0
    assert capsys.readouterr().err.count("num_similar has no effect") == 1


def test_fit_and_judge(capsys: Any) -> None:
    assert fit("run", 3, "--model", "LightGCN", "--model.channels", "8") == 0
    out = capsys.readouterr().out
    assert f"tmfun test --ckpt {Path('run/best.ckpt').absolute()}" in out
    judged = HeldOutDataset(Recommender.load("run/best.ckpt").data, "val")
    assert f"\n{judged.num_users} users " in out
    loaded = Recommender.load("run/best.ckpt")
    assert loaded.model.channels == 8
    expected = loaded.evaluate("val")
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["val"] == expected
    assert metrics["best_epoch"] == loaded.epoch
    logged = [row for row in rows("run/metrics.csv") if row["val_recall@20"]]
    assert [int(row["epoch"]) for row in logged] == [0, 1, 2]
    best = float(logged[loaded.epoch]["val_recall@20"])
    assert best == pytest.approx(expected["recall@20"], abs=1e-6)
    assert best == max(float(row["val_recall@20"]) for row in logged)

    assert main(["test", "--ckpt", "run/best.ckpt"]) == 0
    out = capsys.readouterr().out
    judged = HeldOutDataset(loaded.data, "test")
    assert sum(len(user) for user, _ in judged) == judged.num_users
    assert out.startswith(f"{judged.num_users} users ")
    assert "\nLightGCN " in out
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["test"] == loaded.evaluate("test")
    assert metrics["val"] == expected
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["data"]["k"] == 3
    assert config["model"]["init_args"]["channels"] == 8


def test_validation_on_a_sample(capsys: Any) -> None:
    sample = ["--model", "LightGCN", "--loader.val_users"]
    assert fit("run", 2, *sample, "10") == 0
    out = capsys.readouterr().out
    best = Recommender.load("run/best.ckpt")
    every = HeldOutDataset(best.data, "val").num_users
    assert "validation on a sample of 10 users; " in out.splitlines()[0]
    assert f"\n10 of {every} users " in out
    users = read("run/best.ckpt")["InteractionDataModule"]["val_sample"]
    found = json.loads(Path("run/metrics.json").read_text())
    assert set(found) == {"val", "val_users", "best_epoch"}
    assert found["val_users"] == len(users) == 10
    expected = evaluate(best.model, best.data, "val", users=users)
    assert found["val"] == expected
    logged = [row["val_recall@20"] for row in rows("run/metrics.csv")]
    highest = max(float(value) for value in logged if value)
    assert highest == pytest.approx(expected["recall@20"])
    # The number may not change, and neither do the users:
    before = files_of("run")
    assert fit("run", 3, "--resume", *sample, "11") == 1
    error = capsys.readouterr().err
    assert "--loader.val_users must be 10 to go on" in error
    assert files_of("run") == before
    assert fit("run", 3, "--resume", *sample, "10") == 0
    assert fit("whole", 3, *sample, "10") == 0
    assert_same("run/best.ckpt", "whole/best.ckpt")
    assert scores("run") == scores("whole")
    # The last word is on all users:
    best = Recommender.load("run/best.ckpt")
    assert main(["validate", "--ckpt", "run/best.ckpt"]) == 0
    assert f"\n{every} users " in capsys.readouterr().out
    found = json.loads(Path("run/metrics.json").read_text())
    assert found == {"val": best.evaluate("val"), "best_epoch": best.epoch}
    assert fit("run", 3, "--resume", *sample, "10") == 0
    assert json.loads(Path("run/metrics.json").read_text()) == found


def test_nothing_is_left_of_training_to_judge(monkeypatch: Any) -> None:
    modules, left = [], []
    setup, load = RecommenderModule.setup, Recommender.load

    def remember(self: RecommenderModule, stage: str) -> None:
        modules.append(weakref.ref(self))
        setup(self, stage)

    def look(*args: Any) -> Recommender:
        left.extend(module() for module in modules)
        return load(*args)

    monkeypatch.setattr(RecommenderModule, "setup", remember)
    monkeypatch.setattr(Recommender, "load", look)
    assert fit("run", 1) == 0
    assert left == [None]


def test_resume() -> None:
    assert fit("whole", 4) == 0
    assert fit("parts", 2) == 0
    assert fit("parts", 4, "--resume") == 0
    assert_same("parts/last.ckpt", "whole/last.ckpt")
    assert_same("parts/best.ckpt", "whole/best.ckpt")
    assert read_log("parts") == read_log("whole")
    whole, parts = (
        json.loads(Path(name, "metrics.json").read_text())
        for name in ("whole", "parts")
    )
    assert whole == parts


def test_resume_with_callbacks() -> None:
    callbacks = ["--trainer.callbacks+", "LearningRateMonitor"]
    assert fit("whole", 3, *callbacks) == 0
    assert fit("parts", 2, *callbacks) == 0
    assert fit("parts", 3, "--resume", "true", *callbacks) == 0
    assert_same("parts/last.ckpt", "whole/last.ckpt")
    found = rows("parts/metrics.csv")
    assert read_log("parts") == read_log("whole")
    assert any(row["epoch"] == "" for row in found)


def test_interrupted(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    handler = signal.getsignal(signal.SIGINT)
    step = RecommenderModule.training_step

    def interrupt_at(epoch: int) -> None:
        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            if self.current_epoch == epoch and batch_idx == 2:
                raise KeyboardInterrupt
            return step(self, batch, batch_idx)

        monkeypatch.setattr(RecommenderModule, "training_step", training_step)

    try:
        interrupt_at(0)
        assert fit("run", 4) == 130
        assert "nothing to keep" in capsys.readouterr().err
        assert fit("part", 4, "--trainer.val_check_interval", "2") == 130
        text = f"the best so far is {folder / 'part' / 'best.ckpt'}"
        assert text in capsys.readouterr().err
        interrupt_at(2)
        assert fit("run", 4) == 130
        command = capsys.readouterr().err.splitlines()[-1]
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it now.
    monkeypatch.setattr(RecommenderModule, "training_step", step)
    # It goes on from anywhere.
    other = folder / "a folder"
    other.mkdir()
    monkeypatch.chdir(other)
    words = shlex.split(command)
    assert words[0] == "tmfun"
    assert main(words[1:]) == 0
    assert os.listdir(other) == []
    monkeypatch.chdir(folder)
    assert fit("whole", 4) == 0
    assert_same("run/last.ckpt", "whole/last.ckpt")
    assert read_log("run") == read_log("whole")


def test_killed_while_writing(folder: Path) -> None:
    # Best and last are saved each epoch; the fourth checkpoint is half on the
    # disk when the process ends.
    script = textwrap.dedent(
        f"""
        import os, torch
        from tmfun_pyg.cli.main import main
        save, count = torch.save, [0]
        def half(content, path):
            count[0] += str(path).endswith(".ckpt")
            save(content, path)
            if count[0] == 4:
                os.truncate(path, 1000)
                os.kill(os.getpid(), 9)
        torch.save = half
        main({["fit", "--data.root", "toy", "--out", "run", *FAST]})
        """
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    env["OMP_NUM_THREADS"] = "1"  # As here: several may round otherwise.
    done = subprocess.run([sys.executable, "-c", script], env=env, check=False)
    assert done.returncode == -9
    read("run/last.ckpt")
    assert fit("run", 4, "--resume", "true") == 0
    assert fit("whole", 4) == 0
    assert_same("run/last.ckpt", "whole/last.ckpt")
    assert_same("run/best.ckpt", "whole/best.ckpt")


def test_existing_run(capsys: Any) -> None:
    assert fit("run", 1) == 0
    before = Path("run/last.ckpt").read_bytes()
    assert fit("run", 1) == 1
    run = Path("run").absolute()
    assert (
        f"--out must be a folder without a run or a search (got '{run}', "
        f"which holds best.ckpt); pass --resume" in capsys.readouterr().err
    )
    assert Path("run/last.ckpt").read_bytes() == before


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "metrics.json"])
def test_files_of_others_are_left_alone(name: str, capsys: Any) -> None:
    Path("run").mkdir()
    Path("run", name).write_text("lr: 1")
    for options, message in (
        ([], "; pass another --out"),
        (["--resume", "true"], "holds no config.yaml of a run"),
    ):
        assert fit("run", 1, *options) == 1
        assert message in capsys.readouterr().err
        assert Path("run", name).read_text() == "lr: 1"
        assert sorted(os.listdir("run")) in ([name], sorted([name, "lock"]))


def test_fewer_steps_than_an_epoch_has(capsys: Any) -> None:
    assert fit("run", 1, "--trainer.max_steps", "1") == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "no epoch was finished and validated" in error.splitlines()[-1]
    assert not Path("run").exists()


def test_finished_epochs_that_were_never_validated(capsys: Any) -> None:
    rare = ("--trainer.check_val_every_n_epoch", "9")
    assert fit("run", 9, *rare, "--trainer.max_steps", "20") == 1
    assert "no epoch was finished and validated" in capsys.readouterr().err
    assert 0 < read_checkpoint("run/last.ckpt")["epoch"] < 8


def test_among_the_files_of_the_data_set(capsys: Any) -> None:
    before = sorted(os.listdir("toy"))
    assert fit("toy", 1) == 1
    assert "another folder than that of the data set" in capsys.readouterr().err
    assert [x for x in sorted(os.listdir("toy")) if x != "lock"] == before


def test_other_data(capsys: Any) -> None:
    assert fit("run", 1) == 0
    mine = Recommender.load("run/best.ckpt").dataset.fingerprint
    x = np.load("toy/visual_feat.npy")
    np.save("toy/visual_feat.npy", x + 1)
    assert main(["test", "--ckpt", "run/best.ckpt"]) == 1
    error = capsys.readouterr().err
    other = DatasetOptions("toy", k=3).load().fingerprint
    toy = Path("toy").absolute()
    assert error == (
        f"tmfun test: error: '{toy}' must hold the data set as it was in "
        f"training, of the fingerprint {mine} (got {other}); if it has changed "
        f"since, train again, and prepare changed data under another name to "
        f"keep both\n"
    )
    Path("toy").rename("there")
    moved = ["--root", "there", "--name", "toy"]
    assert main(["test", "--ckpt", "run/best.ckpt", *moved]) == 1
    there = Path("there").absolute()
    assert f"error: '{there}' must hold the" in capsys.readouterr().err
    Path("there").rename("toy")
    assert fit("run", 2, "--resume") == 1
    error = capsys.readouterr().err
    assert error.endswith(
        f"the fingerprint of the data set in '{toy}' must be {mine} to go on "
        f"with the run in '{Path('run').absolute()}' (got {other}); it has "
        f"changed since: train again, with another --out to keep the run\n"
    )
    np.save("toy/visual_feat.npy", x)
    Path("toy").rename("moved")
    assert main(["test", "--ckpt", "run/best.ckpt"]) == 1
    error = capsys.readouterr().err
    assert "does not exist; if it has moved, pass --root" in error
    assert main(["test", "--ckpt", "run/best.ckpt"]) == 1
    assert "toy" in capsys.readouterr().err
    moved = ["--root", "moved", "--name", "toy"]
    assert main(["test", "--ckpt", "run/best.ckpt", *moved]) == 0


def test_shipped_configs(capsys: Any) -> None:
    with pytest.raises(SystemExit) as done:
        main(["fit", "--config", "synthetic", "--print-config"])
    assert done.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["lr"] == 0.005
    assert config["loader"]["batch_size"] == 512
    assert main(["fit", "--config", "tiktok"]) == 1
    assert "--data.root must be the folder" in capsys.readouterr().err
    assert main(["fit", "--config", "nothing"]) == 1
    assert "own_data, sports, synthetic" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["fly"],
        ["fit", "--nothing"],
        ["fit", "--model", "Nothing"],
        ["fit", "--model.chanels", "8"],
        ["fit", "--trainer.max_epochs", "many"],
        ["test"],
    ],
)
def test_usage(args: List[str], capsys: Any) -> None:
    try:
        status = main(args)
    except SystemExit as done:  # Of the words that Python's argparse reads.
        status = done.code
    assert status == 2
    assert "error:" in capsys.readouterr().err


def test_fit_in_closed_form(capsys: Any) -> None:
    options = ["--model", "EASE", "--model.reg_weight", "2.0"]
    assert fit("run", 1, *options) == 0
    assert "Validation:" in capsys.readouterr().out
    model = Recommender.load("run/best.ckpt").model
    assert model.reg_weight == 2.0
    assert model.weight.any()
    assert main(["test", "--ckpt", "run/best.ckpt"]) == 0
    assert set(json.loads(Path("run/metrics.json").read_text())) == {
        *("val", "test", "best_epoch")
    }
    assert main(["report", "--run", "run"]) == 0
    assert Path("run/report/report.html").exists()
    assert fit("run", 1, *options) == 1
    assert "best.ckpt); pass another --out" in capsys.readouterr().err


def test_defaults_are_those_of_the_model(capsys: Any) -> None:
    for name, option, value in (
        ("LightGCN", "num_layers", 3),
        ("EASE", "reg_weight", 200.0),
        ("TMFUN", "softmax_negatives", "auto"),
    ):
        with pytest.raises(SystemExit):
            main(["fit", "--model", name, "--print-config"])
        config = yaml.safe_load(capsys.readouterr().out)
        assert config["model"]["init_args"][option] == value


def test_failures(capsys: Any, folder: Path) -> None:
    Path("nothing").mkdir()
    assert main(["fit", "--data.root", "nothing"]) == 1
    assert "nothing.inter" in capsys.readouterr().err
    assert not (folder / "run").exists()
    (folder / "file").write_text("")
    assert fit("file", 1) == 1
    assert (
        f"--out must be a folder (got the file '{folder / 'file'}')"
        in capsys.readouterr().err
    )
    features = np.load("toy/visual_feat.npy")
    features[0] = 0
    np.save("toy/visual_feat.npy", features)
    assert main(["fit", "--data.root", "toy", "--out", "run"]) == 1
    assert "pass --data.zero_rows mask if" in capsys.readouterr().err
    with pytest.raises(ValueError, match="nowhere"):
        main(["--debug", "fit", "--data.root", "nowhere"])


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may write everywhere",
)
def test_read_only_folder(folder: Path, capsys: Any) -> None:
    (folder / "runs").mkdir(mode=0o500)
    assert fit("runs/a", 1) == 1
    assert "runs" in capsys.readouterr().err


def scores(folder: str) -> Dict[str, Any]:
    return json.loads(Path(folder, "metrics.json").read_text())["val"]


def files_of(folder: str) -> Dict[str, bytes]:
    paths = [path for path in Path(folder).iterdir() if path.name != "lock"]
    return {path.name: path.read_bytes() for path in paths}


def test_best_epoch_of_a_moved_run(folder: Path) -> None:
    """It is replaced by a better one only, wherever the run lies."""
    assert fit("run", 4, "--lr", "0.05") == 0
    best = read("run/best.ckpt")
    shutil.copytree("run", "moved")
    # Nothing is better than a run that can't get better:
    callbacks = torch.load("moved/last.ckpt", weights_only=True)
    for state in callbacks["callbacks"].values():
        if "best_model_score" in state:
            state["best_model_score"] = torch.tensor(0.99)
            state["best_k_models"] = {
                path: torch.tensor(0.99) for path in state["best_k_models"]
            }
            state["kth_value"] = torch.tensor(0.99)
    torch.save(callbacks, "moved/last.ckpt")
    before = Path("moved/best.ckpt").read_bytes()
    before_in_run = files_of("run")
    again = ("--config", "moved/config.yaml", "--resume")
    assert main(["fit", *again, "--trainer.max_epochs", "6"]) == 0
    assert files_of("run") == before_in_run
    assert Path("moved/best.ckpt").read_bytes() == before
    assert read("moved/best.ckpt")["epoch"] == best["epoch"]
    assert read("moved/last.ckpt")["epoch"] == 5
    assert scores("moved") == scores("run")


def test_refused_resume_changes_nothing(capsys: Any) -> None:
    assert fit("run", 1) == 0
    before = files_of("run")
    for options, message in (
        (["--lr", "0.0001"], "--lr must be 0.002 to go on with the run"),
        (["--seed_everything", "7"], "--seed_everything must be 0"),
        (["--loader.num_negatives", "3"], "--loader.num_negatives must be 1"),
        (["--model", "LightGCN"], r"--model must be TMFUN .* \(got LightGCN"),
        (
            ["--model.channels", "8"],
            r"--model.channels must be \d+ .*\(got 8\)$",
        ),
        (["--data.k", "4"], "--data.k must be 3"),
        (["--trainer.max_epochs", "0"], "--trainer.max_epochs must not be 0"),
    ):
        capsys.readouterr()
        assert fit("run", 2, "--resume", *options) == 1
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert error.count("\n") == 1
        assert files_of("run") == before
    # And the run goes on as if nothing had been asked:
    assert fit("run", 2, "--resume") == 0


def test_resume_of_another_file(capsys: Any) -> None:
    assert fit("run", 1) == 0
    checkpoint = read("run/last.ckpt")
    name = next(iter(checkpoint["state_dict"]))
    weight = checkpoint["state_dict"].pop(name)
    for other, message in (
        ({}, f"must be those of the TMFUN .*{name.removeprefix('model.')}"),
        ({name: weight * torch.nan}, f"NaN or infinity in '{name}'"),
    ):
        state = {**checkpoint["state_dict"], **other}
        torch.save({**checkpoint, "state_dict": state}, "run/last.ckpt")
        before = files_of("run")
        assert fit("run", 2, "--resume") == 1
        assert re.search(message, capsys.readouterr().err.splitlines()[-1])
        assert files_of("run") == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--config", "own_data"], "--data.root must be given"),
        (["--trainer.limit_val_batches", "0"], "limit_val_batches must not be"),
        (["--trainer.overfit_batches", "1"], "overfit_batches must be 0 (got"),
        (["--trainer.val_check_interval", "0"], "must be above 0"),
        (["--data.half", "true"], "--data.root must be given"),
        (["--loader.num_workers", "2"], "--loader.num_workers must be 0 w"),
        (["--loader.num_neighbors", "[0]"], "--loader.num_neighbors must be p"),
        (["--trainer.accumulate_grad_batches", "0"], "must be at least 1"),
        (["--trainer.gradient_clip_val", "-1"], "must be at least 0"),
        (["--model.channels", "0"], "--model.channels must be at least 1"),
        (["--model.temperature", "0"], "--model.temperature must be pos"),
        (["--loader.val_users", "0"], "--loader.val_users must be at least 1"),
    ],
)
def test_options_that_make_no_run(
    capsys: Any, folder: Path, args: List[str], message: str
) -> None:
    assert main(["fit", "--out", "run", *args]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "run").exists()


def test_user_with_all_items(capsys: Any, folder: Path) -> None:
    rows = Path("toy/toy.inter").read_text().splitlines()
    items = sorted({line.split("\t")[1] for line in rows[1:]})
    rows = [line for line in rows if not line.startswith("7\t")]
    rows += [f"7\t{item}\t0" for item in items]
    Path("toy/toy.inter").write_text("\n".join(rows) + "\n")
    ids = "".join(f"u{index:02}\t{index}\n" for index in range(60))
    Path("toy/u_id_mapping.csv").write_text(f"user\tuserID\n{ids}")
    assert fit("run", 1) == 1
    error = capsys.readouterr().err
    assert f"(got user 'u07' with all {len(items)} items; 1 of 60" in error
    assert "leave such users out, or take a model in closed form" in error
    assert error.count("\n") == 1
    assert not (folder / "run").exists()
    assert fit("run", 1, "--model", "EASE") == 0


def test_two_fits_into_one_folder(capsys: Any) -> None:
    with locked(Path("run/lock")):
        assert fit("run", 1) == 1
    error = capsys.readouterr().err
    assert f"another process is at work (process {os.getpid()} on" in error
    assert os.listdir("run") == ["lock"]
    assert fit("run", 1) == 0

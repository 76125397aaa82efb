"""Going on with a run, and all that keeps it as it is."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
import yaml
from toy_files import write_files

from tmfun_pyg.cli.main import main
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.utils.locked import locked

FIT = [
    *("fit", "--trainer.accelerator", "cpu", "--data.k", "3"),
    *("--data.root", "toy", "--loader.batch_size", "256"),
]
GCN = [*FIT, "--model", "LightGCN", "--model.channels", "4"]
RESUME = ["fit", "--config", "run/config.yaml", "--resume"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: Any) -> Path:
    """A data set, and a run of two epochs."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    write_files(folder / "toy")
    asked = ["--out", "run", "--trainer.max_epochs", "2"]
    assert main([*GCN, *asked]) == 0
    os.chdir(before)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: Any) -> Path:
    """The run as if it had been made here."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run" / "config.yaml"
    text = path.read_text().replace(str(made), str(tmp_path))
    path.write_text(text)
    return tmp_path


def files_of(folder: str) -> Dict[str, bytes]:
    paths = [path for path in Path(folder).iterdir() if path.name != "lock"]
    return {path.name: path.read_bytes() for path in paths}


def refused(capsys: Any, *args: str) -> str:
    """Returns the only line of a command that fails and changes nothing."""
    before = files_of("run")
    capsys.readouterr()
    assert main([*args]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert files_of("run") == before, args
    return error


def change(path: str, **entries: Any) -> None:
    """Changes entries of a checkpoint, or removes them for ``...``."""
    content = {**torch.load(path, weights_only=True), **entries}
    kept = {key: value for key, value in content.items() if value is not ...}
    torch.save(kept, path)


def test_resume_is_asked_for_each_time(folder: Path, capsys: Any) -> None:
    assert main([*RESUME, "--trainer.max_epochs", "3"]) == 0
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["resume"] is False
    assert config["trainer"]["max_epochs"] == 3
    error = refused(capsys, "fit", "--config", "run/config.yaml")
    assert "pass --resume to go on" in error
    served = [*RESUME[:3], "--on-all-data", "--out", "served"]
    assert "--lr must be 0.002" in refused(capsys, *served, "--lr", "0.9")
    for more in ([], ["--resume"]):
        assert main([*served, *more, "--lr", "0.9"]) == 1
        assert not Path("served").exists()
    assert main(served) == 0
    best = Recommender.load("run/best.ckpt").epoch
    last = torch.load("served/last.ckpt", weights_only=True)
    assert last["epoch"] == best


def test_closed_form_is_no_way_around(folder: Path, capsys: Any) -> None:
    ease = [*FIT, "--out", "run", "--model", "EASE"]
    error = refused(capsys, *ease, "--resume")
    assert "--model must be LightGCN to go on" in error
    with locked(Path("new/lock")):
        assert main([*ease[:-4], "--out", "new", *ease[-2:]]) == 1
        assert os.listdir("new") == ["lock"]
    assert "another process is at work" in capsys.readouterr().err
    shutil.rmtree("run")
    assert main(ease) == 0
    error = refused(capsys, *ease, "--resume")
    assert "must hold last.ckpt to go on with its run (got best.ckpt" in error


def test_checks_are_made_with_the_lock(folder: Path, capsys: Any) -> None:
    with locked(Path("run/lock")):
        assert "another process is at work" in refused(capsys, *RESUME)
        fresh = [*GCN, "--out", "run"]
        assert "another process is at work" in refused(capsys, *fresh)


def test_metrics_are_of_one_epoch(folder: Path, capsys: Any) -> None:
    assert main(["test", "--ckpt", "run/best.ckpt"]) == 0
    known = json.loads(Path("run/metrics.json").read_text())
    assert set(known) == {"val", "test", "best_epoch"}
    other = 1 - known["best_epoch"]
    shutil.copy("run/best.ckpt", "run/other.ckpt")
    change("run/other.ckpt", epoch=other)
    capsys.readouterr()
    assert main(["validate", "--ckpt", "run/other.ckpt"]) == 0
    assert "Not written into" in capsys.readouterr().out
    assert json.loads(Path("run/metrics.json").read_text()) == known
    # As if the run had gone on from another best epoch:
    known["best_epoch"] = other
    Path("run/metrics.json").write_text(json.dumps(known))
    assert main(RESUME) == 0
    found = json.loads(Path("run/metrics.json").read_text())
    assert set(found) == {"val", "best_epoch"}
    assert found["best_epoch"] == 1 - other
    # Where there is no best epoch, a later one takes the place:
    Path("run/metrics.json").unlink()
    for name, splits in (("best", {"val"}), ("other", {"test"})):
        (split,) = splits
        command = {"val": "validate", "test": "test"}[split]
        assert main([command, "--ckpt", f"run/{name}.ckpt"]) == 0
        found = json.loads(Path("run/metrics.json").read_text())
        assert set(found) == {*splits, "epoch"}


def test_copy_of_a_part(folder: Path, capsys: Any) -> None:
    shutil.copytree("run", "copy")
    os.remove("copy/last.ckpt")
    before = files_of("copy")
    for more in ([], ["--out", "copy"]):
        args = ["fit", "--config", "copy/config.yaml", "--resume", *more]
        error = refused(capsys, *args, "--trainer.max_epochs", "3")
        assert "copy' must hold last.ckpt to go on" in error
        assert files_of("copy") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.val_check_interval", "1000"], "must be None to go on"),
        (["trainer.max_epochs", "1"], "must be at least the 2 of the run"),
        (["trainer.max_steps", "1"], "--trainer.max_steps must be -1 to go on"),
        (["trainer.overfit_batches", "2"], "overfit_batches must be 0 (got 2"),
        (["trainer.limit_train_batches", "1"], "batches must be None to go on"),
        (["trainer.limit_val_batches", "1"], "batches must be None to go on"),
        (["trainer.check_val_every_n_epoch", "2"], "must be 1 to go on"),
        (["on_all_data"], "--on_all_data must be False to go on"),
        (["lr", "-1"], "--lr must be positive (got -1.0)"),
        (["patience", "-1"], "--patience must be at least 0 (got -1)"),
        (["loader.num_workers", "-1"], "num_workers must be at least 0"),
    ],
)
def test_other_options(
    folder: Path, capsys: Any, options: List[str], message: str
) -> None:
    args = [f"--{options[0]}", *options[1:]]
    assert message in refused(capsys, *RESUME, *args)


def test_folder_without_a_run(folder: Path, capsys: Any) -> None:
    """Such as a misspelt one."""
    Path("empty").mkdir()
    for out in ("rum", "empty"):
        error = refused(capsys, *GCN, "--out", out, "--resume")
        assert re.search(rf"got '.*/{out}', which holds no config.yaml", error)
        assert "leave out --resume" in error
    assert not Path("rum").exists()
    assert list(Path("empty").iterdir()) == []
    for name in ("config.yaml", "studies.db"):
        Path("empty", name).touch()
    error = refused(capsys, *GCN, "--out", "empty", "--resume")
    assert "which is that of a search); leave out --resume" in error


def test_killed_in_the_first_epoch(folder: Path, capsys: Any) -> None:
    before = files_of("run")
    for name in ("last.ckpt", "best.ckpt", "metrics.json"):
        (folder / "run" / name).unlink()
    (folder / "run" / "metrics.csv").unlink()
    begin = RESUME[:-1] if RESUME[-1] == "--resume" else RESUME
    assert "pass --resume to go on with it" in refused(capsys, *begin)
    assert main(RESUME) == 0
    assert "no epoch is finished there" in capsys.readouterr().out
    for name in ("metrics.csv", "metrics.json"):
        assert Path("run", name).read_bytes() == before[name], name


def test_damaged_run(folder: Path, capsys: Any) -> None:
    """Whatever is damaged is told before anything is written."""

    def told(*more: str) -> str:
        again = [*GCN, "--out", "run", "--resume"]
        error = refused(capsys, *again, "--trainer.max_epochs", "4", *more)
        shutil.rmtree("run")
        shutil.copytree("whole", "run")
        return error

    shutil.copytree("run", "whole")
    change("run/last.ckpt", optimizer_states=...)
    assert "without optimizer_states" in told()
    change("run/last.ckpt", optimizer_states=[])
    assert "must hold the state of 1 optimizer(s)" in told()
    change("run/last.ckpt", optimizer_states=[{"state": 5}])
    assert "must hold the state of 1 optimizer(s)" in told()
    change("run/last.ckpt", InteractionDataModule={"val_sample": 5})
    assert "must hold the users of validation" in told()
    sample = {"val_sample": torch.tensor([99])}
    change("run/last.ckpt", InteractionDataModule=sample)
    assert "--loader.val_users must be 1 as in the check" in told()
    os.remove("run/best.ckpt")
    assert re.search("best.ckpt' does not exist", told())
    Path("run/best.ckpt").write_bytes(b"no checkpoint")
    assert "cannot be read as a checkpoint" in told()
    Path("run/metrics.json").write_text("[]")
    assert "must hold metrics by split" in told()
    Path("run/metrics.csv").write_text("a,b\n1,2\n")
    assert "must have the columns and epochs of a run" in told()
    os.remove("run/config.yaml")
    assert "must hold config.yaml to go on with" in told("--lr", "0.9")
    for text in ("- 1", "out: [", "a\0b"):
        Path("run/config.yaml").write_text(text)
        assert "must be YAML with options" in told()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["lr", "-1"], "--lr must be positive"),
        (["trainer.max_steps", "0"], "training must last longer"),
        (["trainer.max_time", "00:00:00:00"], "training must last longer"),
        (["trainer.limit_val_batches", "0.0001"], "limit_val_batches"),
        (["trainer.limit_train_batches", "0.0001"], "limit_train_batches"),
        (["trainer.val_check_interval", "100"], "val_check_interval"),
        (["trainer.check_val_every_n_epoch", "5"], "must be at most 1 (got 5)"),
        (["trainer.check_val_every_n_epoch", "0"], "must be at least 1"),
        (["model.sparse", "true"], "must come with --loader.num_neighbors"),
    ],
)
def test_refused_fit_leaves_no_folder(
    folder: Path, capsys: Any, options: List[str], message: str
) -> None:
    args = [f"--{options[0]}", *options[1:], "--trainer.max_epochs", "1"]
    error = refused(capsys, *GCN, "--out", "a/b", *args)
    assert message in error
    assert not Path("a").exists()


def test_out_without_a_name(folder: Path, capsys: Any) -> None:
    assert "--out must be" in refused(capsys, *GCN, "--out", "")


def test_checkpoint_that_does_not_say_enough(folder: Path, capsys: Any) -> None:
    about = torch.load("run/best.ckpt", weights_only=True)["recommender"]
    for entry, message in (
        ({"source": None}, "has no source: pass --root"),
        ({"model": "Mine"}, "not in tmfun_pyg: load it in Python"),
    ):
        change("run/best.ckpt", recommender={**about, **entry})
        error = refused(capsys, "test", "--ckpt", "run/best.ckpt")
        assert message in error


def test_resume_of_what_is_trained(folder: Path) -> None:
    """A run that was killed while it was judged."""
    before = files_of("run")
    Path("run/metrics.json").unlink()
    assert main([*RESUME, "--trainer.max_epochs", "2"]) == 0
    after = files_of("run")
    assert after.keys() == before.keys()
    for name in ("metrics.csv", "metrics.json", "best.ckpt", "last.ckpt"):
        assert after[name] == before[name], name


def test_killed_between_the_checkpoints_of_the_first_epoch(
    folder: Path,
) -> None:
    assert main([*GCN, "--out", "one", "--trainer.max_epochs", "1"]) == 0
    for name in ("last.ckpt", "metrics.json"):
        (folder / "one" / name).unlink()
    again = ["--config", "one/config.yaml", "--resume"]
    assert main(["fit", *again, "--trainer.max_epochs", "2"]) == 0
    for name in ("metrics.csv", "metrics.json"):
        assert Path("one", name).read_bytes() == Path("run", name).read_bytes()

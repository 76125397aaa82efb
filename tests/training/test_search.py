import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Tuple

import numpy as np
import optuna
import pytest
import torch

from tmfun_pyg.training import search as module
from tmfun_pyg.training.search import check_plan, find_best
from tmfun_pyg.utils.locked import locked
from tmfun_pyg.utils.retrieval import check_rankable


class Killed(BaseException):
    pass


class Stub:
    """Trains nothing: validation is a function of parameters and epoch."""

    def __init__(
        self, value: Any, epochs: int = 1, deadly: bool = False
    ) -> None:
        self.value, self.epochs, self.deadly = value, epochs, deadly
        self.tried: List[Tuple[Any, int]] = []

    def __call__(self, params: Dict[str, Any], number: int, rule: Any) -> float:
        curve = []
        trainer: Any = SimpleNamespace(should_stop=False)
        for epoch in range(self.epochs):
            curve.append(self.value(params, epoch))
            trainer.current_epoch = epoch
            trainer.callback_metrics = {"val_recall@20": curve[-1]}
            rule.on_validation_end(trainer, None)
            if self.deadly:
                raise Killed
            if trainer.should_stop:
                break
        self.tried.append((params, epoch))
        return max(curve)


def test_never_tries_the_same_twice(tmp_path: Path) -> None:
    plan = {"params": {}, "space": {"a": [1, 2, 3], "b": [0.1, None]}}
    defaults = {"a": 2, "b": 0.1}

    def run(name: str, budget: int, **options: Any) -> Tuple[Any, List]:
        train = Stub(lambda p, _: p["a"] + (not p["b"]), **options)
        path = tmp_path / "studies.db"
        best = find_best(train, path, name, plan, defaults, budget)
        return best, [params for params, _ in train.tried]

    _, tried = run("x", 4)
    assert len(tried) == 4
    assert tried[0] == defaults
    # A larger budget goes on; the choices are six in all.
    best, rest = run("x", 100)
    assert len(rest) == 2
    tried += rest
    assert all(params not in tried[:i] for i, params in enumerate(tried))
    assert best == {"a": 3, "b": None}
    # A smaller one takes what it would have found, and says so.
    with pytest.warns(UserWarning, match="6 trials .* best of the first 1 is"):
        assert run("x", 1) == (defaults, [])
    # What comes next does not depend on what was killed before.
    for budget in (1, 2, 3, 4):
        with pytest.raises(Killed):
            run("y", budget, deadly=True)
        assert run("y", budget)[1] == [tried[budget - 1]]


def test_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    path.write_text("no database")
    plan = {"params": {}, "space": {"a": [1]}}
    with pytest.raises(
        ValueError, match=r"studies\.db' cannot be opened as .*not a database"
    ):
        find_best(Stub(lambda p, _: p["a"]), path, "x", plan, {"a": 1}, 1)
    assert path.read_text() == "no database"


def test_bad_trials_are_stopped(tmp_path: Path, capsys: Any) -> None:
    train = Stub(lambda params, epoch: epoch - 30 * params["a"], 25)
    plan = {"params": {}, "space": {"a": list(range(8))}}
    path = tmp_path / "studies.db"
    assert find_best(train, path, "x", plan, {"a": 3}, 8) == {"a": 0}
    complete: List[int] = []
    for params, epoch in train.tried:
        few = len(complete) < module.NUM_COMPLETE
        # The larger, the worse:
        if few or params["a"] <= np.quantile(complete, 0.75):
            complete.append(params["a"])
            assert epoch == 24
        else:
            assert epoch == 20
    study = optuna.load_study(study_name="x", storage=f"sqlite:///{path}")
    found = [trial.state.name for trial in study.trials]
    pruned = found.count("PRUNED")
    assert found.count("COMPLETE") == len(complete) > module.NUM_COMPLETE
    assert pruned == 8 - len(complete) > 0
    out = capsys.readouterr().out
    assert "x, trial 1 of 8: a 3: val_recall@20 -66.0000" in out
    assert out.count("stopped early") == pruned


def test_trials_that_diverge_are_behind_all(
    tmp_path: Path, capsys: Any
) -> None:
    def train(params: Dict[str, Any], number: int, rule: Any) -> float:
        check_rankable("embeddings", torch.tensor(params["a"]))
        return params["a"]

    space = {"a": [1.0, 2.0, torch.inf]}
    plan, path = {"params": {}, "space": space}, tmp_path / "studies.db"
    with pytest.raises(ValueError, match="one of 1 trials must not diverge"):
        find_best(train, path, "x", plan, {"a": torch.inf}, 1)
    assert "trial 1 of 1: a inf: diverged" in capsys.readouterr().out
    # A larger budget goes on, and counts it.
    assert find_best(train, path, "x", plan, {"a": torch.inf}, 3) == {"a": 2.0}
    assert "trial 2 of 3: a " in capsys.readouterr().out


def test_one_process_makes_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_study = optuna.create_study
    path = tmp_path / "studies.db"

    def create(**kwargs: Any) -> optuna.Study:
        lock = path.with_suffix(".lock")
        with pytest.raises(OSError, match="another process"), locked(lock):
            pass
        return create_study(**kwargs)

    monkeypatch.setattr(optuna, "create_study", create)
    plan = {"params": {}, "space": {"a": [1, 2]}}
    train = Stub(lambda params, epoch: 0.0)
    assert find_best(train, path, "x", plan, {"a": 2}, 1) == {"a": 2}
    with locked(path.with_suffix(".lock")):  # It is free again.
        pass


def test_other_plan_is_refused() -> None:
    plan: Dict[str, Any] = {"settings": {"k": 5, "epochs": 9}, "model": "x"}
    check_plan("it", plan, plan)
    with pytest.raises(
        ValueError, match=r"it must .* the settings {'k': 5} \(got {'k': 6}\)"
    ):
        check_plan("it", {**plan, "settings": {"k": 6, "epochs": 9}}, plan)
    with pytest.raises(ValueError, match=r"the settings {'k': 5} \(got {}\)"):
        check_plan("it", {**plan, "settings": {"epochs": 9}}, plan)
    with pytest.raises(ValueError, match=r"the model x \(got None\)"):
        check_plan("it", {"settings": plan["settings"]}, plan)


def test_without_optuna(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    plan = {"params": {}, "space": {"a": [1, 2]}}
    with pytest.raises(ImportError, match=r"tmfun-pyg\[search\]"):
        find_best(Stub(None), tmp_path / "x.db", "x", plan, {"a": 2}, 1)

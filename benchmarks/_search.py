"""The search for hyper-parameters on the validation split, by Optuna.

All that it knows stands in a database, and what it tries next depends on the
finished trials there alone: a search that was killed goes on as if it had not
been.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any, Dict

import optuna
from _runs import Plan, Runs, check_plan, locked
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from tmfun_pyg.training.callbacks import MONITOR

Params = Dict[str, Any]

SEED = 0  # Of what is tried, and of the training in a trial.
WARM_UP = 10  # Epochs, and
NUM_COMPLETE = 2  # trials, before which no trial is given up.
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def search(runs: Runs, folder: Path, plan: Plan, defaults: Params) -> Params:
    """Returns the choices of largest Recall@20 on validation.

    Args:
        runs: What trains a model.
        folder: The folder of the model, which no other process works in. The
            database is beside it, with a study of the folder's name.
        plan: What is the same in all trials, and as "space" the choices of
            each option.
        defaults: What is tried first.
    """
    study, space = _open(folder, plan), plan["space"]
    choices = {key: CategoricalDistribution(space[key]) for key in space}
    budget = min(runs.args.budget, math.prod(map(len, space.values())))
    for killed in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(killed.number, state=TrialState.FAIL)
    if all(trial.state == TrialState.FAIL for trial in study.trials):
        study.enqueue_trial(defaults)
    while len(done := study.get_trials(states=FINISHED)) < budget:
        seed, tried = SEED + len(done), [trial.params for trial in done]
        study.sampler = TPESampler(seed=seed, n_startup_trials=NUM_COMPLETE)
        # Never the same again, which TPE might insist on:
        while (trial := study.ask(choices)).params in tried:
            study.tell(trial, state=TrialState.FAIL)
            study.sampler = RandomSampler(seed := seed + 1)
        params = {**trial.params, **plan["params"]}
        path = folder / f"trial_{len(done)}"
        rule = LambdaCallback(on_validation_end=partial(_report, trial))
        value = runs.train(plan["model"], params, SEED, path, rule)[1][MONITOR]
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
        print(f"{path}: {params}, {MONITOR} {value:.4f}", flush=True)
    complete = [t for t in done[:budget] if t.state == TrialState.COMPLETE]
    # The first of equals:
    return max(complete, key=lambda trial: trial.value).params


def _open(folder: Path, plan: Plan) -> optuna.Study:
    path = folder.parent / "studies.db"
    with locked(path.parent, wait=True):  # Its tables may have to be made.
        study = optuna.create_study(
            storage=f"sqlite:///{path}?timeout=120",  # Others may be writing.
            pruner=optuna.pruners.MedianPruner(NUM_COMPLETE, WARM_UP),
            study_name=folder.name,
            direction="maximize",
            load_if_exists=True,
        )
    if len(study.trials) == 0:
        for key, value in plan.items():
            study.set_user_attr(key, value)
    check_plan(f"{path}: {folder.name}", study.user_attrs, plan)
    return study


def _report(trial: Trial, trainer: Trainer, _: Any) -> None:
    trial.report(trainer.callback_metrics[MONITOR], trainer.current_epoch)
    trainer.should_stop |= trial.should_prune()

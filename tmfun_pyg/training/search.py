"""The search for options on the validation split, by Optuna.

All that it knows stands in a database, and what it tries next depends on the
finished trials there alone: a search that was killed goes on as if it had not
been.
"""

import json
import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LambdaCallback

from tmfun_pyg.training.callbacks import MONITOR
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.locked import locked
from tmfun_pyg.utils.retrieval import NotRankable

Params = Dict[str, Any]
Plan = Dict[str, Any]

SEED = 0  # Of what is tried.
# When a trial is given up: after so many epochs, and so many trials that ran to
# their end, if it is worse than this share of these. Small rates and few
# negatives learn slowly, and may well end ahead.
WARM_UP, NUM_COMPLETE, SHARE = 20, 2, 0.75


def find_best(
    train: Callable[[Params, int, Callback], float],
    path: Path,
    name: str,
    plan: Plan,
    defaults: Params,
    budget: int,
) -> Params:
    """Returns the choices of largest Recall@20 on validation.

    Args:
        train: Takes choices, the number of the trial and a callback, which may
            end the training early, and returns the best Recall@20 on
            validation.
        path: The database.
        name: The name of the study there, on which no other process works.
        plan: What is the same in all trials, and as "space" the choices of
            each option.
        defaults: What is tried first.
        budget: The number of trials, cut to that of all combinations.

    Raises:
        ImportError: If Optuna is not installed.
        ValueError: If the study there has another plan, if it cannot be
            read, or if no trial ran to its end.
    """
    optuna = import_extra("optuna", "search")
    state, space = optuna.trial.TrialState, plan["space"]
    study = _open(path, name, plan)
    choices = {
        option: optuna.distributions.CategoricalDistribution(space[option])
        for option in space
    }
    budget = min(budget, math.prod(map(len, space.values())))
    for killed in study.get_trials(states=(state.RUNNING,)):
        study.tell(killed.number, state=state.FAIL)
    if all(trial.state == state.FAIL for trial in study.trials):
        study.enqueue_trial(defaults)
    finished = (state.COMPLETE, state.PRUNED)
    num_done = len(study.get_trials(states=finished))
    if num_done > budget:
        warnings.warn(
            f"{path}: {name}: {num_done} trials are done; by the budget the "
            f"best of the first {budget} is taken",
            stacklevel=2,
        )
    while len(done := study.get_trials(states=finished)) < budget:
        seed, tried = SEED + len(done), [trial.params for trial in done]
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=NUM_COMPLETE
        )
        # Never the same again, which TPE might insist on:
        while (trial := study.ask(choices)).params in tried:
            study.tell(trial, state=state.FAIL)
            study.sampler = optuna.samplers.RandomSampler(seed := seed + 1)
        rule = LambdaCallback(on_validation_end=partial(_report, trial))
        try:
            value = train(dict(trial.params), len(done), rule)
        except NotRankable:
            study.tell(trial, state=state.PRUNED)
            end = "diverged"
        else:
            end = f"{MONITOR} {value:.4f}"
            if trial.should_prune():
                study.tell(trial, state=state.PRUNED)
                end += ", stopped early"
            else:
                study.tell(trial, value)
        shown = ", ".join(f"{k} {v}" for k, v in trial.params.items())
        print(
            f"{path}: {name}, trial {len(done) + 1} of {budget}: "
            f"{shown}: {end}",
            flush=True,
        )
    complete = [t for t in done[:budget] if t.state == state.COMPLETE]
    if len(complete) == 0:
        raise ValueError(
            f"{path}: {name}: at least one of {budget} trials must not "
            f"diverge (got none): try lower learning rates"
        )
    # The first of equals:
    return dict(max(complete, key=lambda trial: trial.value).params)


def check_plan(what: str, found: Plan, plan: Plan) -> None:
    """Refuses what was made under other conditions.

    Args:
        what: What was made.
        found: Its conditions, as they come from JSON.
        plan: What they must be.
    """
    for key in plan:
        expected, got = json.loads(json.dumps(plan[key])), found.get(key)
        if isinstance(expected, dict) and isinstance(got, dict):
            other = expected  # Only what differs is told.
            expected = {k: v for k, v in other.items() if _differ(k, v, got)}
            got = {k: v for k, v in got.items() if _differ(k, v, other)}
        if got != expected:
            raise ValueError(
                f"{what} must have been made with the {key} {expected} (got "
                f"{got}); remove it or choose another folder"
            )


def _differ(key: str, value: Any, other: Dict[str, Any]) -> bool:
    return key not in other or other[key] != value


def _open(path: Path, name: str, plan: Plan) -> Any:
    optuna = import_extra("optuna", "search")
    pruner = optuna.pruners.PercentilePruner(100 * SHARE, NUM_COMPLETE, WARM_UP)
    with locked(path.with_suffix(".lock"), wait=True):  # To make its tables.
        try:
            study = optuna.create_study(
                storage=f"sqlite:///{path}?timeout=120",  # Others may write.
                pruner=pruner,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
        # What is raised for a file of something else depends on the file.
        except Exception as err:
            raise ValueError(
                f"'{path}' cannot be opened as the database of a search "
                f"({str(err).splitlines()[0]})"
            ) from err
    if len(study.trials) == 0:
        for key, value in plan.items():
            study.set_user_attr(key, value)
    check_plan(f"{path}: {name}", study.user_attrs, plan)
    return study


def _report(trial: Any, trainer: Trainer, _: Any) -> None:
    trial.report(trainer.callback_metrics[MONITOR], trainer.current_epoch)
    trainer.should_stop |= trial.should_prune()

"""Searches for options on the validation split, with Optuna.

Its whole state is in a database, and the next trial depends only on the
finished trials there: a killed search resumes as if it had not been
interrupted.
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

SEED = 0  # Of the samplers.
# A trial is pruned after WARM_UP epochs, once NUM_COMPLETE trials ran to their
# end, if it is worse than this SHARE of those. Small learning rates and few
# negatives learn slowly, and may well win in the end.
WARM_UP, NUM_COMPLETE, SHARE = 20, 2, 0.75


def find_best(
    train: Callable[[Params, int, Callback], float],
    path: Path,
    name: str,
    plan: Plan,
    defaults: Params,
    budget: int,
) -> Params:
    """Returns the choices with the best Recall@20 on validation.

    Args:
        train: Takes choices, the number of the trial and a callback, which may
            end the training early, and returns the best Recall@20 on
            validation.
        path: The database.
        name: The name of the study there. No other process may work on it.
        plan: The settings that all trials share, and the choices of each
            option as "space".
        defaults: The choices to try first.
        budget: The number of trials, at most that of all combinations.

    Raises:
        ImportError: If Optuna is not installed.
        ValueError: If the study there has another plan or cannot be read, or
            if no trial is complete.
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
        # Never try the same twice, as TPE might keep doing:
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
    # The first of ties:
    return dict(max(complete, key=lambda trial: trial.value).params)


def check_plan(what: str, found: Plan, plan: Plan) -> None:
    """Checks that an earlier result was made with the same plan.

    Args:
        what: The name of the result, for errors.
        found: Its plan, as read from JSON.
        plan: The expected plan.
    """
    for key in plan:
        expected, got = json.loads(json.dumps(plan[key])), found.get(key)
        if isinstance(expected, dict) and isinstance(got, dict):
            other = expected  # Report only the differences.
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
    with locked(path.with_suffix(".lock"), wait=True):  # To create tables.
        try:
            study = optuna.create_study(
                storage=f"sqlite:///{path}?timeout=120",  # Others may write.
                pruner=pruner,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
        # Files of other kinds raise various errors.
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

"""The search for hyper-parameters on the validation split, with Optuna.

All that it knows stands in a database, and what it tries next depends on
nothing else: a search that was killed goes on as if it had not been.
"""

import itertools
import json
import random
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import optuna
import torch
from _files import locked
from lightning.pytorch import Callback, LightningModule, Trainer
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from tmfun_pyg.training.callbacks import MONITOR

Params = Dict[str, Any]
Space = Dict[str, List[Any]]

SEED = 0
NUM_RANDOM = 2  # Trials before the sampler and the pruner use their history.
WARM_UP = 10  # Epochs in which no trial is pruned.
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def search(
    path: Path,
    name: str,
    space: Space,
    defaults: Params,
    budget: int,
    settings: Dict[str, Any],
    objective: Callable[[Params, List[Callback]], float],
    fresh: bool = False,
) -> Dict[str, Any]:
    """Searches the choices of largest objective.

    Args:
        path: The database.
        name: The name of the search in it.
        space: The choices of each option.
        defaults: What is tried first.
        budget: The number of trials, finished or pruned. No choices are
            tried twice, so that there may be fewer.
        settings: What else the objective depends on. A search of this name
            with other settings is refused, or started anew if `fresh`.
        objective: Trains with the given choices and callbacks.
        fresh: See above.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locked(path.with_suffix(".lock")):  # It may have to be made.
        study = _open(path, name, {**settings, "space": space}, fresh)
    _queue_unfinished(study, space)
    distributions: Dict[str, BaseDistribution] = {
        key: CategoricalDistribution(choices) for key, choices in space.items()
    }
    budget = min(budget, len(list(itertools.product(*space.values()))))
    while len(done := _finished(study)) < budget:
        trial = _ask(study, distributions, space, defaults, done)
        try:
            value = objective(trial.params, [_Report(trial)])
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
        last = _finished(study)[-1]
        print(
            f"{name}, trial {len(done) + 1} of {budget}: {trial.params} "
            f"{last.state.name.lower()}, {MONITOR} {last.value}",
            flush=True,
        )
    done = _finished(study)[:budget]
    complete = [t for t in done if t.state == TrialState.COMPLETE]
    if len(complete) == 0:
        raise ValueError(f"{name}: none of {len(done)} trials was completed")
    # The first of equals:
    best = max(complete, key=lambda t: t.value)
    return {
        "params": {key: best.params[key] for key in space},
        "value": best.value,
        "finished": len(complete),
        "pruned": len(done) - len(complete),
        "space": space,
    }


def _open(
    path: Path, name: str, settings: Dict[str, Any], fresh: bool
) -> optuna.Study:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{path}",
        # Other processes may be writing:
        engine_kwargs={"connect_args": {"timeout": 120}},
    )
    content = json.dumps(settings, sort_keys=True)
    study = None
    if name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        # The search was killed before its settings stood there:
        found = study.user_attrs.get("settings", content)
        if found != content and not fresh:
            raise ValueError(
                f"{path} holds a search '{name}' with other settings, give "
                f"--fresh to start anew: found {found}, expected {content}"
            )
        if found != content:
            optuna.delete_study(study_name=name, storage=storage)
            study = None
    if study is None:
        study = optuna.create_study(
            study_name=name, storage=storage, direction="maximize"
        )
    study.set_user_attr("settings", content)
    study.pruner = optuna.pruners.MedianPruner(NUM_RANDOM, WARM_UP)
    return study


def _finished(study: optuna.Study) -> List[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


def _queue_unfinished(study: optuna.Study, space: Space) -> None:
    """Puts what a killed process was about to do back into the queue."""
    waiting = study.get_trials(states=(TrialState.WAITING,))
    queued = [t.system_attrs["fixed_params"] for t in waiting]
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        params = trial.system_attrs.get("fixed_params", trial.params)
        # Without all choices, it is drawn once more, and the same.
        if params.keys() == space.keys() and params not in queued:
            study.enqueue_trial(params)
        study.tell(trial.number, state=TrialState.FAIL)


def _ask(
    study: optuna.Study,
    distributions: Dict[str, BaseDistribution],
    space: Space,
    defaults: Params,
    done: Sequence[FrozenTrial],
) -> Trial:
    """Chooses what is to be tried next, never the same again."""
    waiting = study.get_trials(False, states=(TrialState.WAITING,))
    if len(done) == 0 and len(waiting) == 0:
        study.enqueue_trial(defaults)
    # Drawn from the number of finished trials, not from those of this
    # process:
    study.sampler = optuna.samplers.TPESampler(
        seed=SEED + len(done), n_startup_trials=NUM_RANDOM
    )
    tried = [trial.params for trial in done]
    trial = study.ask(distributions)
    while trial.params in tried:
        study.tell(trial, state=TrialState.FAIL)
        grid = itertools.product(*space.values())
        rest = [dict(zip(space, choice, strict=True)) for choice in grid]
        rest = [params for params in rest if params not in tried]
        study.enqueue_trial(random.Random(SEED + len(done)).choice(rest))
        trial = study.ask(distributions)
    return trial


class _Report(Callback):
    """Tells a trial how it is doing, and ends it if that is not well."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def on_validation_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        finite = [p.detach().isfinite().all() for p in pl_module.parameters()]
        if not bool(torch.stack(finite).all()):
            raise optuna.TrialPruned("The training has diverged")

    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        value = float(trainer.callback_metrics[MONITOR])
        self.trial.report(value, trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned()

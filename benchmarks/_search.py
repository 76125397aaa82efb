"""The search for hyper-parameters on the validation split.

The defaults come first, then random choices from the grid, in an order that
does not depend on the budget. Each trial leaves a file: a search that was
killed goes on as if it had not been.
"""

import itertools
import random
from pathlib import Path
from statistics import median
from typing import Any, Dict, List

from _runs import Runs, check_plan, write_json
from lightning.pytorch import Callback, LightningModule, Trainer

from tmfun_pyg.training.callbacks import MONITOR

Params = Dict[str, Any]

SEED = 0  # Of the order of the choices, and of the training in a trial.
WARM_UP = 10  # Epochs, and
NUM_COMPLETE = 2  # trials, before which no trial is given up.


def search(
    runs: Runs,
    folder: Path,
    name: str,
    space: Dict[str, List[Any]],
    defaults: Params,
    fixed: Params,
) -> Params:
    """Returns the choices of largest Recall@20 on validation.

    Args:
        runs: What trains a model.
        folder: The folder of the model.
        name: The name of the model.
        space: The choices of each option.
        defaults: What is tried first.
        fixed: The options that are not searched.
    """
    grid = itertools.product(*space.values())
    choices = [dict(zip(space, values, strict=True)) for values in grid]
    random.Random(SEED).shuffle(choices)
    choices.remove(defaults)
    trials = [defaults, *choices][: runs.args.budget]
    curves: List[List[float]] = []
    for number, params in enumerate(trials):
        path = folder / f"trial_{number}.json"
        plan = runs.plan(name, {**params, **fixed})
        if path.exists():
            curves.append(check_plan(path, plan)["curve"])
            continue
        rule = MedianRule(curves)
        weights = path.with_suffix("")
        runs.train(name, plan["params"], SEED, weights, rule)
        curves.append(rule.curve)
        write_json(path, {**plan, "curve": rule.curve})
        value = max(rule.curve)
        print(f"{path}: {params}, {MONITOR} {value:.4f}", flush=True)
    # The first of equals:
    best = max(range(len(trials)), key=lambda number: max(curves[number]))
    return trials[best]


class MedianRule(Callback):
    """Stops a trial whose best value is below the median of earlier trials up
    to the same epoch. It would not be chosen, since one of these is better.
    """

    def __init__(self, curves: List[List[float]]) -> None:
        self.curves = curves
        self.curve: List[float] = []

    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        """Takes down the metric that trials are compared by."""
        self.curve.append(float(trainer.callback_metrics[MONITOR]))
        epoch = len(self.curve)
        others = [max(curve[:epoch]) for curve in self.curves]
        if epoch > WARM_UP and len(others) >= NUM_COMPLETE:
            trainer.should_stop |= max(self.curve) < median(others)

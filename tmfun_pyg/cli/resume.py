"""Checks a run to be resumed before anything is written."""

from pathlib import Path
from typing import Any, Dict

from lightning.pytorch import Trainer

from tmfun_pyg.cli.command import read_metrics
from tmfun_pyg.cli.kept_options import first_other
from tmfun_pyg.cli.run_folder import BEST, LAST
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.training.checkpoint import load_weights, read_checkpoint

STATE = {"epoch", "global_step", "loops", "callbacks", "optimizer_states"}


def read_last(folder: Path, description: Dict[str, Any]) -> Dict[str, Any]:
    """Reads the last finished epoch of a run, and checks that all of the run
    has the same model and data, and can be resumed.

    Args:
        folder: The folder of the run.
        description: The description of this model and data in a checkpoint.
    """
    read_metrics(folder)
    last = read_checkpoint(folder / LAST)
    checkpoints = [last]
    if not last.keys() >= STATE:
        raise ValueError(
            f"'{folder / LAST}' must hold the state of its training to go on "
            f"(got one without {sorted(STATE - last.keys())[0]})"
        )
    if any(x.get("best_model_path") for x in last["callbacks"].values()):
        checkpoints.append(read_checkpoint(folder / BEST))
    source = description["recommender"]["source"]
    data = f"the fingerprint of the data set in '{source['root']}'"
    changed = (
        "; it has changed since: train again, with another --out to keep "
        "the run"
    )
    for checkpoint in checkpoints:
        for key, name, advice in (
            ("model", "--model", ""),
            ("options", "--model", ""),
            ("fingerprint", data, changed),
        ):
            found = checkpoint["recommender"][key]
            own = description["recommender"][key]
            if found != own:
                name, found, own = first_other(name, found, own)
                raise ValueError(
                    f"{name} must be {found} to go on with the run in "
                    f"'{folder}' (got {own}){advice}"
                )
    return last


def check_state(
    last: Dict[str, Any],
    folder: Path,
    module: RecommenderModule,
    trainer: Trainer,
) -> None:
    """Checks that a trainer can resume from a checkpoint.

    Args:
        last: The result of :func:`read_last`.
        folder: The folder of the run.
        module: The module to train.
        trainer: The trainer.
    """
    load_weights(last, module.model)  # Fails now, not once training began.
    optimizers, states = module.configure_optimizers(), last["optimizer_states"]
    try:
        for optimizer, state in zip(optimizers, states, strict=True):
            optimizer.load_state_dict(state)
    # The error for a wrong state depends on the state.
    except Exception as err:
        raise ValueError(
            f"'{folder / LAST}' must hold the state of {len(optimizers)} "
            f"optimizer(s) of this model to go on ({type(err).__name__})"
        ) from err
    done, asked = last["epoch"] + 1, trainer.max_epochs
    if asked is not None and -1 < asked < done:
        raise ValueError(
            f"--trainer.max_epochs must be at least the {done} of the run in "
            f"'{folder}' (got {asked})"
        )

from pathlib import Path
from typing import Any, Dict, List, Optional

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

#: The only metric by which models are selected.
MONITOR = "val_recall@20"


def default_callbacks(
    dirpath: Optional[str] = None, patience: int = 20
) -> List[Callback]:
    r"""Returns the callbacks that select a model by validation Recall@20:
    early stopping, and checkpoints of the best epoch (:obj:`best.ckpt`) and
    the last one (:obj:`last.ckpt`, to resume from).

    Args:
        dirpath (str, optional): The checkpoint folder. If not given, uses the
            folder of the trainer's logger. (default: :obj:`None`)
        patience (int, optional): The number of validations without
            improvement after which training stops. Those of the first
            :obj:`patience` epochs do not count: the initial fit can stay ahead
            of training for some time. (default: :obj:`20`)
    """
    return [
        # Training may end before the first validation:
        _LateStopping(MONITOR, patience=patience, mode="max", strict=False),
        _BestAndLast(
            dirpath,
            filename="best",
            monitor=MONITOR,
            mode="max",
            save_last=True,
            # Otherwise, better epochs become "best-v1", then "best", ...
            enable_version_counter=False,
        ),
    ]


def keep_last(dirpath: str) -> List[Callback]:
    r"""Returns the callback that saves the last epoch (:obj:`last.ckpt`), for
    training without validation.

    Args:
        dirpath (str): The checkpoint folder.
    """
    return [_BestAndLast(dirpath, save_top_k=0, save_last=True)]


class _LateStopping(EarlyStopping):
    """Starts counting after ``patience`` epochs."""

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._forget(trainer)

    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        super().on_validation_end(trainer, pl_module)
        self._forget(trainer)

    def _forget(self, trainer: Trainer) -> None:
        if trainer.current_epoch < self.patience:
            self.wait_count = 0


class _BestAndLast(ModelCheckpoint):
    """Saves the last epoch even if it is not the best, which not all versions
    of Lightning do, and still knows the best one after the run's folder was
    moved, which Lightning forgets. With `fast_dev_run`, it saves nothing,
    whereas some versions save the last epoch.
    """

    def on_train_end(self, trainer: Any, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:
            super().on_train_end(trainer, pl_module)

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        folder = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        state = {
            key: moved(value) if key.endswith("_path") else value
            for key, value in state_dict.items()
        }
        state["best_k_models"] = {
            moved(path): score
            for path, score in state_dict["best_k_models"].items()
        }
        super().load_state_dict({**state, "dirpath": self.dirpath})

    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        # Within an epoch, save the best, but not the last: a resumed run would
        # resample the rest of the epoch.
        asked = self.save_last
        step = trainer.fit_loop.batch_idx + 1
        self.save_last = asked and step >= trainer.num_training_batches
        super().on_validation_end(trainer, pl_module)
        self.save_last = asked

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # Skips a step that is saved already:
        if self.save_last and not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_last_checkpoint(trainer, candidates)

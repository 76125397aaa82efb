"""Writes the files of a run other than its checkpoints."""

from pathlib import Path
from typing import Any, Callable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from tmfun_pyg.cli.run_folder import LOG
from tmfun_pyg.utils.files import atomic_write


class RunLog(CSVLogger):
    """Writes metrics.csv, each epoch immediately, and appends to an existing
    one.

    Args:
        folder: The folder of the run.
        num_epochs: The number of epochs whose rows are kept.

    Raises:
        ValueError: If the rows there have no epochs.
    """

    def __init__(self, folder: Path, num_epochs: int) -> None:
        super().__init__(
            folder.parent, folder.name, "", flush_logs_every_n_steps=1
        )
        path = folder / LOG
        self.kept, self.begun = [""], False
        if num_epochs == 0 or not path.exists() or path.stat().st_size == 0:
            return
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            place, end = lines[0].split(",").index("epoch"), 1
            for number, line in enumerate(lines[1:], start=2):
                epoch = line.split(",")[place]
                if epoch and int(epoch) < num_epochs:  # Some rows have none.
                    end = number
        except (ValueError, IndexError) as err:
            raise ValueError(
                f"'{path}' must have the columns and epochs of a run that goes "
                f"on"
            ) from err
        self.kept = lines[:end]

    @property
    def experiment(self) -> Any:
        """The writer of the file. Creating it removes an old file, and
        Lightning requests it even if there is nothing left to train.
        """
        return super().experiment if self.begun else None

    def begin(self) -> None:
        """Keeps the rows of the first epochs."""
        self.begun = True
        experiment = self.experiment
        if self.kept != [""]:
            experiment.metrics_keys = self.kept[0].split(",")
            with atomic_write(experiment.metrics_file_path) as part:
                # The line ending of the rows to come.
                rows = "\r\n".join([*self.kept, ""])
                part.write_bytes(rows.encode())

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Leaves them to config.yaml."""

    def save(self) -> None:
        """Writes nothing before training begins."""
        if self._experiment is not None:
            super().save()


class Begin(Callback):
    """Writes into the folder of a run only when its training begins, after
    everything that could have failed before.

    Args:
        log: The log of the run.
        save_config: Writes the configuration.
    """

    def __init__(self, log: RunLog, save_config: Callable[[], None]) -> None:
        self.log_of_run, self.save_config = log, save_config

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Begins."""
        if trainer.is_global_zero:
            self.log_of_run.begin()
            self.save_config()

import resource
import sys
import time
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from tmfun_pyg.cli.duration import in_words
from tmfun_pyg.cli.progress import Progress
from tmfun_pyg.training import InteractionDataModule

ENOUGH = 2.0  # Seconds of steps to measure.
LONG = 3_600  # Seconds per epoch that are worth a warning.


class Forecast(Callback):
    """Reports in one line, after the first steps, the size of the data, the
    time that training will take, and the peak memory. The first step does not
    count: it allocates.

    Args:
        progress: Writes the line.
        loader: The data module of the batches.
    """

    def __init__(
        self, progress: Progress, loader: InteractionDataModule
    ) -> None:
        self.progress, self.loader = progress, loader
        self.is_told = False
        self.begun = self.paused = 0.0

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Starts measuring."""
        self._measure(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, _: LightningModule, *args: object
    ) -> None:
        """Reports, once enough is measured."""
        if self.is_told:
            return
        self.num_steps += 1
        done = trainer.fit_loop.batch_idx + 1
        total = trainer.num_training_batches
        if done == 1 < total:
            self._measure(trainer)
        elif time.perf_counter() - self.begun >= ENOUGH or done == total:
            self.is_told = True
            self._tell(trainer, self._now(trainer) - self.begun)

    def on_validation_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Stops the clock."""
        self.paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Restarts the clock."""
        self.begun += time.perf_counter() - self.paused

    def _measure(self, trainer: Trainer) -> None:
        self.num_steps, self.begun = 0, self._now(trainer)

    def _now(self, trainer: Trainer) -> float:
        """Returns the time after waiting for the device to finish, which is
        not done at any other step.
        """
        if trainer.strategy.root_device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()

    def _tell(self, trainer: Trainer, seconds: float) -> None:
        if not trainer.is_global_zero:
            return
        data, step = self.loader.data, seconds / self.num_steps
        num_steps = int(trainer.num_training_batches)
        epoch = num_steps * step
        num_edges = data["user", "interacts", "item"].edge_index.size(1)
        text = (
            f"{data['user'].num_nodes:,} users, {data['item'].num_nodes:,} "
            f"items, {num_edges:,} interactions; {num_steps:,} "
            f"{'step' if num_steps == 1 else 'steps'} of "
            f"{self.loader.batch_size:,} an epoch, {in_words(step)} a step, "
            f"{in_words(epoch)} an epoch before validation"
        )
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            num_epochs = trainer.max_epochs - trainer.current_epoch
            text += f", {in_words(num_epochs * epoch)} for {num_epochs} "
            text += "epoch" if num_epochs == 1 else "epochs"
            if trainer.early_stopping_callback is not None:
                text += " unless training stops early"
        peak = _peak_memory(trainer.strategy.root_device) / 1e9
        sample = self.loader.val_sample if trainer.enable_validation else None
        if sample is not None:
            text += f"; validation on a sample of {sample.numel():,} users"
        self.progress.tell(f"{text}; peak memory so far {peak:.1f} GB")
        if epoch > LONG:
            warnings.warn(
                f"an epoch will take {in_words(epoch)}: {self._advice()}",
                stacklevel=2,
            )

    def _advice(self) -> str:
        if self.loader.num_neighbors is None:
            return (
                "a larger --loader.batch_size makes fewer steps, and on the "
                "whole graph each costs nearly the same"
            )
        return "smaller --loader.num_neighbors make a step cheaper"


def _peak_memory(device: torch.device) -> int:
    """Returns the peak memory in bytes, on a GPU that of its tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak

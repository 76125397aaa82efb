import sys
import time
from typing import Any, List

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer

from tmfun_pyg.cli.duration import in_words
from tmfun_pyg.training.callbacks import MONITOR

PAUSE = 0.2  # Seconds between updates on a terminal.


class Progress(Callback):
    """Shows the progress of training and the time left until the last epoch
    or step, or until its time is over: in one updated line on a terminal,
    elsewhere in one line per epoch.
    """

    def __init__(self) -> None:
        self.updates = sys.stdout.isatty()
        self.summary = ""
        self.begun = self.shown = 0.0
        self.start, self.num_batches, self.first_step = 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Starts at a step that need not be the first of a run."""
        self.begun = self.start = time.perf_counter()
        self.num_batches, self.first_step = 0, trainer.global_step

    def on_train_epoch_start(
        self, trainer: Trainer, _: LightningModule
    ) -> None:
        """Starts an epoch."""
        self.begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, _: LightningModule, *args: Any
    ) -> None:
        """Updates the line."""
        self.num_batches += 1
        now, step = time.perf_counter(), trainer.fit_loop.batch_idx + 1
        is_due = self.updates and now - self.shown >= PAUSE
        if is_due and trainer.is_global_zero:
            self.shown = now
            total = trainer.num_training_batches
            left = self._left(trainer, step)
            text = f"epoch {trainer.current_epoch}: {step}/{total} steps"
            self._write(f"{text}{left} {self.summary}")

    def on_validation_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Reports the result of a validation within an epoch."""
        step, total = (
            trainer.fit_loop.batch_idx + 1,
            trainer.num_training_batches,
        )
        if step < total and not trainer.sanity_checking:
            text = f"epoch {trainer.current_epoch}, {step}/{total} steps: "
            self._tell_of(trainer, text)

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Reports the result of an epoch."""
        loss = float(trainer.callback_metrics["train_loss"])
        self._tell_of(
            trainer, f"epoch {trainer.current_epoch}: loss {loss:.4f}, "
        )

    def _tell_of(self, trainer: Trainer, text: str) -> None:
        if not trainer.is_global_zero:
            return
        found = trainer.callback_metrics
        stopping = trainer.early_stopping_callback
        if stopping is not None and MONITOR in found:
            score = float(found[MONITOR])  # Lightning updates the best later.
            self.summary = (
                f"(best {max(float(stopping.best_score), score):.4f})"
            )
            text += f"recall@20 {score:.4f} {self.summary}, "
        text += f"{time.perf_counter() - self.begun:.1f} s"
        left = self._left(trainer, trainer.fit_loop.batch_idx + 1)
        self._write(f"{text}{left}")

    def on_fit_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Ends the updated line."""
        if self.updates:
            print()

    def tell(self, text: str) -> None:
        """Writes a line that stays.

        Args:
            text: The line.
        """
        self._write(text)
        if self.updates:
            print(flush=True)

    def _left(self, trainer: Trainer, step: int) -> str:
        """Returns the time left as text, if an end is known and ahead."""
        elapsed = time.perf_counter() - self.start
        ends: List[float] = []
        num_epochs = trainer.max_epochs or -1
        if num_epochs > 0 and self.num_batches > 0:
            total = trainer.num_training_batches
            left = (num_epochs - trainer.current_epoch) * total - step
            ends.append(elapsed / self.num_batches * left)
        taken = trainer.global_step - self.first_step
        if trainer.max_steps > 0 and taken > 0:
            left = trainer.max_steps - trainer.global_step
            ends.append(elapsed / taken * left)
        for timer in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(timer, Timer):  # For max_time.
                remaining = timer.time_remaining()
                ends += [] if remaining is None else [remaining]
        seconds = min(ends, default=0.0)
        if seconds <= 0:
            return ""
        stops = trainer.early_stopping_callback is not None
        return f", {'at most ' * stops}{in_words(seconds)} left"

    def _write(self, text: str) -> None:
        if self.updates:
            print(f"\r\033[K{text}", end="", flush=True)
        else:
            print(text, flush=True)

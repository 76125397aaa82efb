import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from tmfun_pyg.training.callbacks import MONITOR

PAUSE = 0.2  # Seconds between two updates on a terminal.


class Progress(Callback):
    """Tells how training goes: in one line that is updated on a terminal, in
    a line an epoch elsewhere.
    """

    def __init__(self) -> None:
        self.updates = sys.stdout.isatty()
        self.summary = ""
        self.begun = self.shown = 0.0

    def on_train_epoch_start(
        self, trainer: Trainer, _: LightningModule
    ) -> None:
        """Begins an epoch."""
        self.begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, _: LightningModule, *args: Any
    ) -> None:
        """Updates the line."""
        now, step = time.perf_counter(), trainer.fit_loop.batch_idx + 1
        if self.updates and now - self.shown >= PAUSE:
            self.shown = now
            total = trainer.num_training_batches
            epoch = trainer.current_epoch
            self._write(f"epoch {epoch}: {step}/{total} steps {self.summary}")

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Tells what an epoch has brought."""
        found, epoch = trainer.callback_metrics, trainer.current_epoch
        text = f"epoch {epoch}: loss {float(found['train_loss']):.4f}, "
        stopping = trainer.early_stopping_callback
        if stopping is not None and MONITOR in found:
            score = float(found[MONITOR])  # Lightning compares it later.
            self.summary = (
                f"(best {max(float(stopping.best_score), score):.4f})"
            )
            text += f"recall@20 {score:.4f} {self.summary}, "
        self._write(f"{text}{time.perf_counter() - self.begun:.1f} s")

    def on_fit_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Leaves the line."""
        if self.updates:
            print()

    def _write(self, text: str) -> None:
        if self.updates:
            print(f"\r\033[K{text}", end="", flush=True)
        else:
            print(text, flush=True)

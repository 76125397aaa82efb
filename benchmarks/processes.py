"""The effect of a second process: seconds per step, and memory per process.

    OMP_NUM_THREADS=1 python benchmarks/processes.py --data x10
    OMP_NUM_THREADS=1 python benchmarks/processes.py --root DIR/rows_10000000 \
        --data log --ways full sampled

TMFUN is trained for some steps on the CPU, by one process and by two in data
parallel (DDP over gloo), on the whole graph, on sampled neighborhoods, and on
the latter with tables sharded across the processes, which needs torchrec.
Batch sizes are those of all processes together. A step includes the sampling
of its batch. Memory is the peak of a process during the steps, its data set
included. The graph is one of those of speed.py, or the log that scale.py wrote
to a folder.
"""

import argparse
import subprocess
import sys
import time
from typing import Any, Dict, List

import torch
import torch.distributed as dist
from _graphs import SIZES, load_graph
from _measure import peak, reset_peak
from lightning.pytorch import Callback, Trainer, seed_everything

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.training import InteractionDataModule, RecommenderModule, sharded
from tmfun_pyg.transforms import ToRecGraph

WAYS = ["full", "sampled", "sharded"]
SAMPLE: Dict[str, Any] = {"num_neighbors": [10, 5], "num_similar": 5}
HEAD = """\
| way | processes | batch | s a step | steps an epoch | peak MiB of each |
| --- | --- | --- | --- | --- | --- |"""


class Clock(Callback):
    """Measures all batches but the first. Trainer.global_step counts each as
    often as there are optimizers.
    """

    def on_train_batch_start(self, *args: Any) -> None:
        """Starts with the second batch."""
        if args[-1] == 1:
            reset_peak("cpu")
            self.start = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        """Ends with the last."""
        if args[-1] > 0:
            self.seconds = (time.perf_counter() - self.start) / args[-1]
            self.memory = peak("cpu")


def work(args: argparse.Namespace) -> None:
    """Trains as one of the processes of a group."""
    dist.init_process_group("gloo")
    seed_everything(0, verbose=False)
    data = ToRecGraph()(load_graph(args.data, args.root))
    if args.work == "full":
        model, sample = TMFUN.from_data(data), {}
    else:
        is_sharded = args.work == "sharded"
        model_cls = sharded(TMFUN, lr=1.0) if is_sharded else TMFUN
        options = {"num_layers": 2, "sparse": not is_sharded}
        model, sample = model_cls.from_data(data, **options), SAMPLE
    loader = InteractionDataModule(data, args.batch_size or "auto", **sample)
    clock, size = Clock(), dist.get_world_size()
    trainer = Trainer(
        accelerator="cpu",
        devices=size,
        strategy="ddp" if size > 1 else "auto",
        max_epochs=1,
        limit_train_batches=args.steps + 1,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(RecommenderModule(model, data), loader)
    num_steps = len(trainer.train_dataloader)
    memory: List[float] = [0.0] * size
    dist.all_gather_object(memory, clock.memory)
    if dist.get_rank() == 0:
        cells = [args.work, str(size), f"{loader.batch_size:,}"]
        cells += [f"{clock.seconds:.3f}", f"{num_steps:,}"]
        cells += [", ".join(f"{value:,.0f}" for value in memory)]
        print(f"| {' | '.join(cells)} |", flush=True)
    dist.destroy_process_group()


def main() -> None:
    """Runs each way in groups of one and of two processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--root", help="folder of the data sets")
    add("--data", default="x10", help=f"a set, or {', '.join(SIZES)}")
    add("--ways", nargs="+", choices=WAYS, default=WAYS)
    add("--batch-size", type=int, help="that of training, if not given")
    add("--steps", type=int, default=5, help="after one to warm up")
    add("--work", help=argparse.SUPPRESS)  # The way of a worker process.
    args = parser.parse_args()
    if args.work is not None:
        work(args)
        return
    print(f"{vars(args)}, torch {torch.__version__}\n\n{HEAD}", flush=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for way in args.ways:
        for size in (1, 2):
            group = [*launch, f"--nproc-per-node={size}", *sys.argv]
            subprocess.run([*group, "--work", way], check=True)


if __name__ == "__main__":
    main()

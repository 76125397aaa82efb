"""Runs a script in several processes that form a group."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

TIMEOUT = 540  # Seconds; an idle machine takes about 20.

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()),
    reason="torch is built without torch.distributed or its gloo backend",
)


def run_ranks(script: str, folder: Path, num_ranks: int = 2) -> None:
    """Runs a script with a folder as its argument, once for each rank.

    The ranks are children of this process, without an agent in between: all
    are ended if one fails, which the others would wait for, or time is up.
    """
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(num_ranks),
    }
    logs = [folder / f"{rank}.log" for rank in range(num_ranks)]
    processes = []
    deadline = time.monotonic() + TIMEOUT
    try:
        for rank, log in enumerate(logs):
            with log.open("w") as file:
                process = subprocess.Popen(
                    [sys.executable, script, str(folder)],
                    env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            processes.append(process)
        while {process.poll() for process in processes} - {0} == {None}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    codes = [process.returncode for process in processes]
    output = "\n".join(log.read_text() for log in logs)
    assert codes == [0] * num_ranks, f"{codes}\n{output}"


def init_group(folder: Path) -> int:
    """Joins the group of :func:`run_ranks`, and returns the rank.

    It meets in a file: a port would have to be free, and a host name to be
    known.
    """
    rank = int(os.environ["RANK"])
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timedelta(seconds=TIMEOUT / 3),
    )
    return rank

"""Runs a script in several processes that form a group, as users do."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch.distributed as dist

TIMEOUT = 300  # Seconds; an idle machine takes about 20.

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()),
    reason="torch is built without torch.distributed or its gloo backend",
)


def run_ranks(script: str, *args: Any, num_ranks: int = 2) -> None:
    """Runs a script with torchrun, on a port that is free."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={num_ranks}", script, *map(str, args)]
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.terminate()  # Unlike a kill, it ends the ranks, too.
        output, _ = process.communicate()
        pytest.fail(f"The ranks still ran after {TIMEOUT} seconds:\n{output}")
    assert process.returncode == 0, output

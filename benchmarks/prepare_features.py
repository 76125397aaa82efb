"""Time and peak memory of `tmfun prepare` by the size of the features.

    python benchmarks/prepare_features.py --num-items 200000 --dim 1024 \
        --folder DIR --feature_channels 256

The features of each modality are float16 `.npy` files: a random linear map of
64 random numbers per item, plus noise. The log has three interactions per
item. Both stay in the folder for the next time. Peak memory is that of the
process without the pages of mapped files, which the system reclaims when it
needs memory. Further options are those of `tmfun prepare`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import List, Tuple

import numpy as np
import pandas as pd
from _environment import describe_environment

from tmfun_pyg.utils.files import atomic_write

BLOCK = 4096  # Rows that are sampled at once.
HIDDEN = 64
ROWS_OF_AN_ITEM, ROWS_OF_A_USER = 3, 6


def write_features(path: Path, num_items: int, dim: int, seed: int) -> None:
    """Writes features, unless they exist."""
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    scale = 1 / (1 + np.arange(HIDDEN, dtype=np.float32)) ** 0.5
    basis = scale[:, None] * rng.standard_normal((HIDDEN, dim), np.float32)
    noise = rng.standard_normal((BLOCK, dim), np.float32) / 4
    with atomic_write(path) as part:
        out = np.lib.format.open_memmap(
            part, "w+", dtype=np.float16, shape=(num_items, dim)
        )
        for start in range(0, num_items, BLOCK):
            block = out[start : start + BLOCK]
            hidden = rng.standard_normal((len(block), HIDDEN), np.float32)
            # The same noise, rolled for each block.
            block[:] = (
                hidden @ basis + np.roll(noise, start // BLOCK, 1)[: len(block)]
            )
        out.flush()


def write_log(path: Path, num_items: int, seed: int) -> None:
    """Writes a log that has all items, unless it exists."""
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    item = np.tile(np.arange(num_items), ROWS_OF_AN_ITEM)
    user = rng.permutation(len(item)) // ROWS_OF_A_USER
    frame = pd.DataFrame({"user_id": user, "item_id": item})
    frame.to_csv(path, index=False)


def run(command: List[str]) -> Tuple[float, float, float]:
    """Returns the wall time and the CPU time of a process, in seconds, and its
    peak memory without mapped files, in GiB.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    status, most = Path(f"/proc/{process.pid}/status"), 0
    while True:
        pid, code, usage = os.wait4(process.pid, os.WNOHANG)
        if pid != 0:
            break
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon"):
                most = max(most, int(line.split()[1]))
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    if code != 0:
        code = os.waitstatus_to_exitcode(code)
        raise SystemExit(f"'{' '.join(command)}' ended with {code}")
    return seconds, usage.ru_utime + usage.ru_stime, most / 2**20


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--num-items", type=int, default=200_000)
    add("--dim", type=int, default=1024)
    add("--folder", type=Path, required=True, help="of files, and to write")
    args, options = parser.parse_known_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    log = args.folder / f"log_{args.num_items}.csv"
    write_log(log, args.num_items, seed=0)
    command = [sys.executable, "-m", "tmfun_pyg", "prepare", "--name", "own"]
    command += ["--log", str(log)]
    for seed, modality in enumerate(("visual", "text")):
        path = args.folder / f"{modality}_{args.num_items}_{args.dim}.npy"
        write_features(path, args.num_items, args.dim, seed)
        command += [f"--features.{modality}", str(path)]
    print(describe_environment())
    titles = "items | features | options | s | s of CPU | peak GiB"
    print(f"\n| {titles} |\n|{' --- |' * 6}")
    with TemporaryDirectory(prefix="out_", dir=args.folder) as out:
        seconds, busy, memory = run([*command, "--out", out, *options])
    cells = [f"{args.num_items:,}", f"2 x {args.dim:,}", " ".join(options)]
    cells += [f"{seconds:,.0f}", f"{busy:,.0f}", f"{memory:.2f}"]
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

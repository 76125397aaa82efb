"""Time and peak memory of `tmfun prepare` by the size of the log.

    python benchmarks/prepare.py --rows 3000000 10000000 --folder DIR

The log is generated from a seed: on average 18 rows per user and 93 per item,
both of unequal popularity, with text as ids and times in seconds. Each run is
a separate process on one core. Logs stay in the folder for the next time.
Further options are those of `tmfun prepare`, such as `--split leave_last_out`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, List, Tuple

import numpy as np
import pyarrow as pa
from _environment import describe_environment
from pyarrow import csv, parquet

from tmfun_pyg.utils.files import atomic_write

CHUNK = 2**20  # Rows that are sampled at once.
ROWS_OF_A_USER, ROWS_OF_AN_ITEM = 18, 93
FIRST, SECONDS = 1_500_000_000, 2 * 10**8


def write_log(path: Path, num_rows: int, seed: int) -> None:
    """Writes a log, unless it exists."""
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    sizes = num_rows // ROWS_OF_A_USER, num_rows // ROWS_OF_AN_ITEM
    schema = pa.schema(
        {
            "user_id": pa.string(),
            "item_id": pa.string(),
            "timestamp": pa.int64(),
        }
    )
    with atomic_write(path) as part, part.open("wb") as file:
        if path.suffix == ".csv":
            file.write((",".join(schema.names) + "\n").encode())
            plain = csv.WriteOptions(include_header=False, quoting_style="none")
            writer: Any = csv.CSVWriter(file, schema, write_options=plain)
        else:
            writer = parquet.ParquetWriter(file, schema)
        with writer as out:
            for start in range(0, num_rows, CHUNK):
                n = min(CHUNK, num_rows - start)
                columns = [
                    pa.array(np.char.add(letter, index.astype(np.str_)))
                    for letter, index in zip(
                        "ui",
                        (_draw(rng, size, n) for size in sizes),
                        strict=True,
                    )
                ]
                columns.append(pa.array(FIRST + rng.integers(SECONDS, size=n)))
                out.write(pa.table(columns, schema))


def _draw(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """Samples positions, the first ones more often, in shuffled order."""
    place = (size * rng.random(n) ** 2).astype(np.int64)
    return place * 1_000_003 % size


def run(command: List[str]) -> Tuple[float, float, float]:
    """Returns the wall time of a process on one core, its CPU time, both in
    seconds, and its peak memory, in GiB.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        raise SystemExit(f"'{' '.join(command)}' ended with {code}")
    busy = usage.ru_utime + usage.ru_stime
    return seconds, busy, usage.ru_maxrss / 2**20  # Linux: in KiB.


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=[3_000_000])
    add("--suffixes", nargs="+", default=["csv", "parquet"])
    add("--folder", type=Path, required=True, help="of the logs, and to write")
    add("--seed", type=int, default=0)
    args, options = parser.parse_known_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    print(describe_environment())
    titles = "rows | file | MB | s | s of CPU | peak GiB"
    print(f"\n| {titles} |\n|{' --- |' * 6}")
    command = [sys.executable, "-m", "tmfun_pyg", "prepare", "--name", "own"]
    command += ["--time_col", "timestamp"]
    for num_rows in args.rows:
        for suffix in args.suffixes:
            log = args.folder / f"log_{num_rows}_{args.seed}.{suffix}"
            write_log(log, num_rows, args.seed)
            with TemporaryDirectory(prefix="out_", dir=args.folder) as out:
                places = ["--log", str(log), "--out", out]
                seconds, busy, memory = run([*command, *places, *options])
            size = log.stat().st_size / 1e6
            cells = f"{size:,.0f} | {seconds:,.0f} | {busy:,.0f} | {memory:.2f}"
            print(f"| {num_rows:,} | {suffix} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

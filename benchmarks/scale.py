"""Cost and accuracy of training by the size of the log.

    python benchmarks/scale.py --rows 10000000 --folder DIR --max-time 01:00:00
    python benchmarks/scale.py --rows 200000 1000000 5000000 20000000 \
        --folder DIR --runs TMFUN --steps 8

Users have a taste for three clusters of items; other choices follow
popularity. Two modalities of 128 features are the mean of an item's cluster
plus noise. Everything is generated from a seed. Each row of the table is a run
of `tmfun fit` in a separate process, with its defaults except as its name
says, validated four times per epoch: seconds and memory include reading the
data set, the graphs and validation. Runs in the folder are not repeated, and
are an error if they were made with other options. The time of an epoch is the
one that the run reports after its first steps. With several sizes, a chart
shows how it grows, and the table has the exponent; --steps then ends runs
early.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pyarrow as pa
from _environment import describe_environment
from _errors import run_script
from _options import at_least
from _runs import write_json
from pyarrow import parquet

from tmfun_pyg.training.search import check_plan

ROWS_OF_A_USER, ROWS_OF_AN_ITEM = 20, 100
ITEMS_OF_A_CLUSTER, CLUSTERS_OF_A_USER = 200, 3
# The share of a user's rows by taste; the exponent of popularity by rank; the
# spread of users' activity, and its minimum.
TASTE, SKEW, SPREAD, LEAST = 0.8, 0.7, 0.9, 5
NOISE = {"image": 1.0, "text": 2.0}
DIM = 128
LEAST_ROWS = 2000  # With twenty items: more than an item's neighbors.
# The options of `tmfun fit` by the name of a run:
RUNS: Dict[str, List[str]] = {
    "LightGCN": ["--model", "LightGCN", "--model.softmax_negatives", "128"],
    "TMFUN": [],
    "TMFUN, no start": ["--model.svd_start", "false"],
}
TRAINED = list(RUNS)
for _channels in (64, 128):
    RUNS[f"SVD {_channels}"] = [  # The ideal filter of GF-CF, nearly alone.
        *["--model", "GFCF", "--model.channels", str(_channels)],
        *["--model.alpha", "1e6"],
    ]
    for _alpha in (10, 30, 100, 300):
        RUNS[f"IALS {_channels}, alpha {_alpha}"] = [
            *["--model", "IALS", "--model.channels", str(_channels)],
            *["--model.alpha", str(_alpha)],
        ]
STEP = re.compile(
    r".* ([\d,]+) interactions; .* steps? of ([\d,]+) an epoch, "
    r"([\d.]+) (\w+) a step"
)
UNITS = {"s": 1, "min": 60, "h": 3600}
EPOCH = re.compile(r"epoch (\d+)\b.*: .*recall@20 ([\d.]+).*?, ([\d.]+) s")
LAST = re.compile(r"(\w+) +[\d.]+ +([\d.]+) +[\d.]+ +[\d.]+$")  # In a table.


def draw(num_rows: int, seed: int) -> Tuple[np.ndarray, ...]:
    """Returns users and items of a log, and the cluster of each item."""
    rng = np.random.default_rng(seed)
    num_users = num_rows // ROWS_OF_A_USER
    num_items = num_rows // ROWS_OF_AN_ITEM
    num_clusters = max(CLUSTERS_OF_A_USER, num_items // ITEMS_OF_A_CLUSTER)
    cluster = np.sort(rng.integers(num_clusters, size=num_items))
    popularity = (1.0 + rng.permutation(num_items)) ** -SKEW
    mass = np.concatenate([[0.0], np.cumsum(popularity)])
    ptr = np.searchsorted(cluster, np.arange(num_clusters + 1))
    activity = rng.lognormal(sigma=SPREAD, size=num_users)
    activity *= (ROWS_OF_A_USER - LEAST) / activity.mean()
    user = np.repeat(np.arange(num_users), LEAST + activity.astype(np.int64))
    taste = rng.integers(num_clusters, size=(num_users, CLUSTERS_OF_A_USER))
    place = np.minimum(rng.geometric(0.5, len(user)), CLUSTERS_OF_A_USER) - 1
    chosen = taste[user, place]
    low, high = mass[ptr[chosen]], mass[ptr[chosen + 1]]
    by_popularity = (rng.random(len(user)) > TASTE) | (low == high)
    low[by_popularity], high[by_popularity] = 0.0, mass[-1]
    at = low + rng.random(len(user)) * (high - low)
    item = np.searchsorted(mass, at, side="right") - 1
    pair = np.unique(user * num_items + np.minimum(item, num_items - 1))
    return pair // num_items, pair % num_items, cluster


def prepare(folder: Path, num_rows: int, seed: int) -> Path:
    """Samples a log and prepares its data set, unless it exists."""
    out = folder / f"rows_{num_rows}"
    if out.exists():
        path = out / "prepare.json"
        text = path.read_text(encoding="utf-8") if path.exists() else "{}"
        check_plan(str(out), json.loads(text), {"seed": seed})
        return out
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="part_", dir=folder) as name:
        part = Path(name, out.name)
        part.mkdir()
        write_data(part, num_rows, seed)
        part.rename(out)
    return out


def write_data(part: Path, num_rows: int, seed: int) -> None:
    """Writes a log and its data set to a folder."""
    user, item, cluster = draw(num_rows, seed)
    table = pa.table({"user_id": user, "item_id": item})
    parquet.write_table(table, part / "log.parquet")
    found = np.unique(item)  # The order of the rows of features.
    command = ["prepare", "--log", str(part / "log.parquet"), "--name", "log"]
    command += ["--out", str(part), "--split", "random"]
    rng = np.random.default_rng(seed + 1)
    for name, noise in NOISE.items():
        centre = rng.standard_normal((cluster.max() + 1, DIM), np.float32)
        x = rng.standard_normal((len(found), DIM), np.float32)
        np.save(part / f"{name}.npy", centre[cluster[found]] + noise * x)
        command += [f"--features.{name}", str(part / f"{name}.npy")]
    seconds, memory, _ = run(command)
    facts = {"seconds": seconds, "memory": memory, "interactions": len(user)}
    write_json(part / "prepare.json", {"seed": seed, **facts})


def run(args: List[str]) -> Tuple[float, float, List[Tuple[float, str]]]:
    """Returns the seconds of a command, its peak memory, in GiB, and the lines
    it printed, each with the seconds until then.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "tmfun_pyg", *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout or []:
        lines.append((time.perf_counter() - start, line.rstrip()))
        print(f"{lines[-1][0]:8.0f} s  {lines[-1][1]}", flush=True)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        raise SystemExit(f"'{shlex.join(command)}' ended with {code}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20, lines


def fit(folder: Path, name: str, limits: List[str]) -> Dict[str, Any]:
    """Returns the results of a run of `tmfun fit`, and writes them."""
    path = folder / f"{name.replace(' ', '_').replace(',', '')}.json"
    options = [*RUNS[name], *(limits if name in TRAINED else [])]
    pairs = zip(options[::2], options[1::2], strict=True)
    plan = {"options": dict(pairs)}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        check_plan(str(path), found, plan)
        return found
    args = ["fit", "--config", "own_data", "--data.name", "log", *options]
    with TemporaryDirectory(prefix="run_", dir=folder) as out:
        places = ["--data.root", str(folder), "--out", out]
        seconds, memory, lines = run([*args, *places])
    epochs = [(at, EPOCH.match(line)) for at, line in lines]
    found = {
        "name": name,
        **plan,
        "seconds": seconds,
        "memory": memory,
        "epoch": seconds_of_epoch(lines),
        "curve": [
            {"at": at, "epoch": int(m[1]), "recall": float(m[2])}
            | {"seconds": float(m[3])}
            for at, m in epochs
            if m is not None
        ],
        "recall": recall_of(lines),
        "command": f"tmfun {shlex.join(args)} --data.root DIR --out OUT",
        **describe_environment(),
    }
    write_json(path, found)
    return found


def seconds_of_epoch(lines: List[Tuple[float, str]]) -> Optional[float]:
    """Returns how long an epoch takes without validation, if the run reports
    it.
    """
    for _, line in lines:
        match = STEP.match(line)
        if match is not None:
            count, size = (int(x.replace(",", "")) for x in match.groups()[:2])
            # For all steps of an epoch, even if the run takes only a part:
            return -(-count // size) * float(match[3]) * UNITS[match[4]]
    return None


def recall_of(lines: List[Tuple[float, str]]) -> float:
    """Returns Recall@20 from the last line of the table that a run ends
    with.
    """
    found = [LAST.match(line) for _, line in lines]
    return [float(match[2]) for match in found if match is not None][-1]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--rows",
        type=at_least(LEAST_ROWS),
        nargs="+",
        default=[10_000_000],
        help="drawn for each log",
    )
    add("--folder", type=Path, required=True, help="of the logs and the runs")
    names = list(RUNS)
    add("--runs", nargs="+", default=names, choices=names, help="on each log")
    add("--max-time", help="at which training ends, as HH:MM:SS")
    steps = "of one epoch, after which training ends"
    add("--steps", type=at_least(1), help=steps)
    add("--seed", type=at_least(0), default=0, help="of the logs")
    args = parser.parse_args()
    limits = ["--trainer.val_check_interval", "0.25"]
    if args.steps is not None:
        limits = ["--trainer.max_epochs", "1"]
        limits += ["--trainer.limit_train_batches", str(args.steps)]
    if args.max_time is not None:
        if re.fullmatch(r"\d+:\d\d:\d\d", args.max_time) is None:
            parser.error(f"--max-time must be HH:MM:SS (got '{args.max_time}')")
        limits += ["--trainer.max_time", f"00:{args.max_time}"]
    titles = "interactions | run | s | peak GiB | Recall@20 | s an epoch"
    rows, sizes, times = [], [], []
    for num_rows in args.rows:
        folder = prepare(args.folder, num_rows, args.seed)
        text = (folder / "prepare.json").read_text(encoding="utf-8")
        facts = json.loads(text)
        count = facts["interactions"]
        spent = f"{facts['seconds']:,.0f} | {facts['memory']:.2f}"
        rows.append(f"| {count:,} | prepare | {spent} | | |")
        for name in args.runs:
            one = fit(folder, name, limits)
            spent = f"{one['seconds']:,.0f} | {one['memory']:.2f}"
            epoch = "" if one["epoch"] is None else f"{one['epoch']:,.0f}"
            row = f"{name} | {spent} | {one['recall']:.4f} | {epoch}"
            rows.append(f"| {count:,} | {row} |")
            if name == "TMFUN":
                sizes.append(count)
                times.append(one["epoch"])
    print(f"\n| {titles} |\n|{' --- |' * 6}")
    print("\n".join(rows))
    if len(sizes) > 1:
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        print(f"\nThe time of an epoch grows by the power {slope:.2f}.")
        draw_curve(args.folder / "scale.svg", sizes, times)


def draw_curve(path: Path, sizes: List[int], times: List[float]) -> None:
    """Draws the time of an epoch by the number of interactions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="tight")
    axes = figure.subplots()
    axes.loglog(sizes, times, marker="o")
    axes.set_xlabel("interactions")
    axes.set_ylabel("seconds an epoch of TMFUN")
    figure.savefig(path)


if __name__ == "__main__":
    run_script(main)

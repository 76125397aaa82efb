"""Kills prepare, fit and export at random moments, and lets two fits write
into one folder. Whatever is there afterwards is whole, and going on ends as if
nothing had happened:

    python tests/robustness/kill.py --rounds 20 --pairs 10
"""

import argparse
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import torch
from bench import CKPT, FIT, PREPARE, call, files_in, write_shop

EPOCHS = "12"
RUN = (*FIT, "--trainer.max_epochs", EPOCHS)
EXPORT = ("export", *CKPT, "--out", "served")
FOLDERS = ("data", "run", "served")


def start(*commands: Tuple[str, ...]) -> int:
    """Runs commands in a process of its own, and returns its number."""
    process = os.fork()
    if process == 0:
        for number, args in enumerate(commands):
            status, _, error = call(*args)
            Path(f"error_{os.getpid()}").write_text(error)
            if status:
                os._exit(10 * status + number)
        os._exit(0)
    return process


def state() -> Dict[str, object]:
    """Returns what has to be the same in the end."""
    best = torch.load("run/best.ckpt", weights_only=True)
    found: Dict[str, object] = {
        "weights": {k: v.tolist() for k, v in best["state_dict"].items()},
        "epoch": best["epoch"],
        "metrics.csv": Path("run/metrics.csv").read_bytes(),
        "metrics.json": Path("run/metrics.json").read_bytes(),
    }
    for folder in ("data", "served"):
        for name in files_in(folder):
            # A killed process leaves its hidden part behind, and no more.
            if not name.startswith(".") and not name.endswith("manifest.json"):
                found[f"{folder}/{name}"] = Path(folder, name).read_bytes()
    return found


def clear() -> None:
    """Removes what commands have written."""
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)


def check_whole(right: Dict[str, object], when: str) -> None:
    """Checks what a kill has left."""
    for folder in ("data", "served"):
        wanted = {x for x in right if x.startswith(f"{folder}/")}
        shown = [x for x in files_in(folder) if not x.startswith(".")]
        names = {
            f"{folder}/{x}" for x in shown if not x.endswith("manifest.json")
        }
        assert names in (set(), wanted), (when, names)
        for name in names:
            assert Path(name).read_bytes() == right[name], (when, name)
    for name in ("best.ckpt", "last.ckpt"):
        if Path("run", name).exists():
            torch.load(Path("run", name), weights_only=True)


def main() -> None:
    """Runs all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=10)
    asked = parser.parse_args()
    os.environ["TMFUN_CACHE"] = "cache"
    os.chdir(tempfile.mkdtemp())
    write_shop()
    begun = time.perf_counter()
    _, status = os.waitpid(start(PREPARE, RUN, EXPORT), 0)
    assert status == 0
    seconds = time.perf_counter() - begun
    right = state()

    rng = np.random.default_rng(0)
    killed = 0
    for number in range(asked.rounds):
        clear()
        process = start(PREPARE, RUN, EXPORT)
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        killed += os.WIFSIGNALED(status)
        at = "none"
        for folder in FOLDERS:
            at = folder if Path(folder).exists() else at
        check_whole(right, f"round {number}")
        # It may have been killed before it began.
        has_run = Path("run/config.yaml").exists()
        again = [(*RUN, "--resume", "true") if has_run else RUN]
        if not Path("data/shop").exists():
            again.insert(0, PREPARE)
        if not Path("served").exists():
            again.append(EXPORT)
        _, status = os.waitpid(start(*again), 0)
        assert status == 0, (number, status)
        assert state() == right, f"round {number} ends otherwise"
        print(f"round {number}: the last folder was {at}, ends the same")

    for number in range(asked.pairs):
        shutil.rmtree("run")
        pair = [start(RUN), start(RUN)]
        ends = [os.waitstatus_to_exitcode(os.waitpid(x, 0)[1]) for x in pair]
        assert sorted(ends) == [0, 10], ends
        loser = pair[ends.index(10)]
        error = Path(f"error_{loser}").read_text()
        assert error.count("\n") == 1, error
        assert state() == right
        print(f"pair {number}: {error.strip()}")
    print(f"{killed} of {asked.rounds} killed, all ended the same")


if __name__ == "__main__":
    main()

"""A small shop and what the scripts of this folder do with it."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import List, Tuple

import numpy as np

from tmfun_pyg.cli.main import main

PREPARE = ("prepare", "--log", "log.csv", "--out", "data", "--name", "shop")
PREPARE += ("--features.image", "image.npy", "--split", "random")
FIT = ("fit", "--data.root", "data/shop", "--data.k", "3", "--out", "run")
FIT += ("--model.num_layers", "1", "--trainer.accelerator", "cpu")
CKPT = ("--ckpt", "run/best.ckpt")


def write_shop(num_users: int = 60, num_items: int = 40) -> None:
    """Writes log.csv and image.npy with image_ids.txt."""
    rng = np.random.default_rng(0)
    rows = [
        f"u{u},i{i}"
        for u in range(num_users)
        for i in rng.choice(num_items, 8, replace=False)
    ]
    Path("log.csv").write_text("\n".join(["user_id,item_id", *rows, ""]))
    image = rng.normal(size=(num_items, 8)).astype(np.float32)
    np.save("image.npy", image)
    ids = [f"i{i}" for i in range(num_items)]
    Path("image_ids.txt").write_text("\n".join([*ids, ""]))


def call(*args: str) -> Tuple[int, str, str]:
    """Runs a command, and returns its status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(list(args))
        except SystemExit as done:
            status = int(done.code or 0)
    return status, out.getvalue(), err.getvalue()


def files_in(folder: str) -> List[str]:
    """Returns the names of all files in a folder."""
    return sorted(
        str(Path(place, name).relative_to(folder))
        for place, _, names in os.walk(folder)
        for name in names
    )

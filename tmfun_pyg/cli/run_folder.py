"""The folder of a run: its location, ownership and content."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterator, List, Sequence

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from tmfun_pyg.cli.config_file import read_config
from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.training.checkpoint import Dataset, read_checkpoint
from tmfun_pyg.utils.locked import locked

CONFIG, LOG, METRICS, LOCK = (
    *("config.yaml", "metrics.csv", "metrics.json", "lock"),
)
LAST, BEST = "last.ckpt", "best.ckpt"
DATABASE = "studies.db"  # The file of a search.
FILES = (CONFIG, LOG, METRICS, LAST, BEST, DATABASE)


def find_folder(config: Namespace, default: str) -> Path:
    """Returns the folder of the run: that of the configuration, if a run is
    resumed that was moved.

    Args:
        config: The options, including the paths of their configurations.
        default: The folder if none is given.
    """
    out = config.out
    for path in [Path(str(name)) for name in config.config or []]:
        holds_run = any(
            (path.parent / name).exists() for name in (LAST, BEST, LOG, METRICS)
        )
        is_its = out is not None and read_config(path).get("out") == out
        if config.resume and holds_run and is_its:
            out = str(path.parent)
    return Path(out or default).absolute()


@contextmanager
def own_folder(
    folder: Path, keeps: Sequence[str], others: Sequence[str]
) -> Iterator[None]:
    """Keeps other processes out of a folder, and leaves nothing new in it if
    there is nothing to keep.

    Args:
        folder: The folder, which is created.
        keeps: Files that are worth keeping.
        others: Files that are useless without those.

    Raises:
        BlockingIOError: If another process works there.
        ValueError: If it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder (got the file '{folder}')")
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    files = [folder / name for name in (LOCK, *others)]
    files = [path for path in files if not path.exists()]
    with locked(folder / LOCK):
        try:
            yield
        finally:
            if not any((folder / name).exists() for name in keeps):
                for path in files:
                    path.unlink(missing_ok=True)
                with suppress(OSError):  # It is not empty.
                    for path in new:
                        os.rmdir(path)


def files_in(folder: Path) -> List[str]:
    """Returns the files of a run or a search in a folder.

    Args:
        folder: The folder.
    """
    return [name for name in FILES if (folder / name).exists()]


def check_folder(folder: Path, resume: bool) -> bool:
    """Returns whether a run continues from a finished epoch.

    Args:
        folder: The folder of the run.
        resume: Whether to resume the run there.

    Raises:
        ValueError: If there is a run that should not or cannot be resumed.
    """
    has_last, has_best = (folder / LAST).exists(), (folder / BEST).exists()
    is_main: Any = rank_zero_only  # Others may see files that it wrote.
    found = files_in(folder)
    if not resume and found and is_main.rank == 0:
        goes_on = has_last or (not has_best and _is_begun(folder))
        advice = "--resume to go on with it" if goes_on else "another --out"
        raise ValueError(
            f"--out must be a folder without a run or a search (got "
            f"'{folder}', which holds {found[-1]}); pass {advice}"
        )
    if has_best and not has_last and not _is_first_epoch(folder):
        raise ValueError(
            f"'{folder}' must hold {LAST} to go on with its run (got {BEST} "
            f"alone)"
        )
    if resume and not has_last:
        why = None if _is_begun(folder) else f"holds no {CONFIG} of a run"
        if (folder / DATABASE).exists():
            why = "is that of a search"
        if why is not None:
            raise ValueError(
                f"--out must be the folder of a run to go on with it (got "
                f"'{folder}', which {why}); leave out --resume to begin one"
            )
        print(f"{folder}: no epoch is finished there, starting anew")
    return has_last


def check_apart(folder: Path, dataset: Dataset) -> None:
    """Checks that a run is not kept among the files of its data set.

    Args:
        folder: The folder of the run.
        dataset: The data set.

    Raises:
        ValueError: If it is.
    """
    is_of_files = isinstance(dataset, MultimodalRecDataset)
    if is_of_files and folder.exists() and folder.samefile(dataset.raw_dir):
        raise ValueError(
            f"--out must be another folder than that of the data set (got "
            f"'{folder}')"
        )


def _is_begun(folder: Path) -> bool:
    """Returns whether a run was started in a folder, perhaps killed since."""
    config = folder / CONFIG
    if not config.exists() or (folder / DATABASE).exists():
        return False
    is_its = (folder / LOG).exists()
    return is_its or read_config(config).get("out") == str(folder)


def _is_first_epoch(folder: Path) -> bool:
    """Returns whether a run ended between its first epoch's checkpoints."""
    is_first = read_checkpoint(folder / BEST)["epoch"] == 0
    return is_first and not (folder / METRICS).exists()

"""Downloads the data sets that MMHCL published on the Hugging Face hub."""

import hashlib
import os.path as osp
import re
from contextlib import suppress
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from tmfun_pyg.datasets import _mmrec
from tmfun_pyg.datasets._content import Interactions
from tmfun_pyg.datasets._download import download
from tmfun_pyg.datasets._hub import list_folder
from tmfun_pyg.datasets._json_splits import SPLIT_FILES, read_json_splits
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.locked import locked

REPO = "Xu-SII-BNU/MMHCL"
CORE = "5-core"  # The folder of the splits.
FEATURES = r"\w+/([\w-]+_feat\.npy)"
LOCK = ".download.lock"


class Copy(NamedTuple):
    """A data set published by MMHCL.

    Args:
        folder (str): Its folder.
        digest (str): The SHA-256 of its interactions, see :func:`digest`.
    """

    folder: str
    digest: str

    @property
    def page(self) -> str:
        """The page for downloading the files by hand."""
        return f"https://huggingface.co/datasets/{REPO}/tree/main/{self.folder}"


def digest(rows: Interactions) -> str:
    """Returns the SHA-256 of interactions and their splits, in any order."""
    order = np.lexsort((rows.item, rows.user, rows.label))
    table = np.stack([column[order] for column in rows]).astype("<i8")
    return hashlib.sha256(table.tobytes()).hexdigest()


def download_copy(
    copy: Copy,
    folder: str,
    name: str,
    modalities: Optional[Sequence[str]],
    check: Callable[[Interactions, str], None],
) -> None:
    """Downloads the missing files of a data set, and then writes its
    interactions as ``<name>.inter``.

    Args:
        copy (Copy): The data set.
        folder (str): The folder of its raw files, flat.
        name (str): Its name.
        modalities (List[str], optional): The modalities, all for :obj:`None`.
        check (callable): Checks the interactions, given their name in errors.

    Raises:
        ConnectionError: If a file cannot be downloaded.
        OSError: If a file cannot be written.
        ValueError: If a file is not the published one.
    """
    raw = Path(folder)
    made = [path for path in (raw, *raw.parents) if not path.exists()]
    lock = raw / LOCK
    try:
        with locked(lock, wait=True):
            try:
                _download_missing(copy, folder, modalities)
                _write_interactions(copy, raw / f"{name}.inter", check)
            finally:
                lock.unlink()
    finally:
        for path in made:
            with suppress(OSError):  # It is not empty.
                path.rmdir()


def _write_interactions(
    copy: Copy, path: Path, check: Callable[[Interactions, str], None]
) -> None:
    if path.is_file():
        return
    rows = read_json_splits(str(path.parent))
    source = f"{', '.join(SPLIT_FILES)} in '{path.parent}'"
    check(rows, source)
    if digest(rows) != copy.digest:
        raise ValueError(
            f"{source} must hold interactions with the checksum {copy.digest}, "
            f"those that MMHCL publishes (got {digest(rows)})"
        )
    with atomic_write(path) as part:
        _mmrec.write_inter(part, rows)


def _download_missing(
    copy: Copy, folder: str, modalities: Optional[Sequence[str]]
) -> None:
    def missing(names: Sequence[str]) -> List[str]:
        return [n for n in names if not osp.isfile(osp.join(folder, n))]

    features = [m + _mmrec.FEATURES for m in modalities or ()]
    # Splits are downloaded last: if they exist, so do all modalities.
    if not missing([*SPLIT_FILES, *features]):
        return
    files = list_folder(REPO, copy.folder)
    if modalities is None:
        found = (re.fullmatch(FEATURES, path) for path in files)
        features = [match[1] for match in found if match]
    paths = {name: f"{copy.folder}/{name}" for name in features}
    paths |= {name: f"{copy.folder}/{CORE}/{name}" for name in SPLIT_FILES}
    unknown = [path for path in paths.values() if path not in files]
    if unknown:
        raise ValueError(
            f"'{copy.page}' must have the files {unknown} (got {sorted(files)})"
        )
    for name in missing(list(paths)):
        download(files[paths[name]], osp.join(folder, name))

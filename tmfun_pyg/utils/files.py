"""Files and folders that are written completely or not at all."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union
from uuid import uuid4


@contextmanager
def atomic_write(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` on success, and is
    removed on failure.

    Args:
        path (str): The file. Its folder is created if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Some writers choose the format by the suffix.
    part = path.with_name(f".{path.stem}.{uuid4().hex}.part{path.suffix}")
    try:
        yield part
        # The content must reach the disk before the name.
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yields a new temporary folder that replaces ``folder`` on success, and
    is removed on failure.

    Args:
        folder (str): The folder. Its previous files are removed.
    """
    folder = Path(folder)
    key = uuid4().hex
    part = folder.with_name(f".{folder.name}.{key}.part")
    old = folder.with_name(f".{folder.name}.{key}.old")
    try:
        part.mkdir(parents=True)
        yield part
        if not folder.exists():
            os.replace(part, folder)
            return
        os.replace(folder, old)
        try:
            os.replace(part, folder)
        except OSError:
            os.replace(old, folder)
            raise
        shutil.rmtree(old)
    finally:
        shutil.rmtree(part, ignore_errors=True)

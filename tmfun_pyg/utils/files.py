"""Files and folders that are written whole or not at all."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union
from uuid import uuid4


@contextmanager
def atomic_write(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Gives the name of a file beside ``path``, which takes its place if
    everything went well, and is removed otherwise.

    Args:
        path (str): The file, whose folder is made if it has to be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: some writers choose the format by it.
    part = path.with_name(f".{path.stem}.{uuid4().hex}.part{path.suffix}")
    try:
        yield part
        # The name must not reach the disk ahead of the content.
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    folder: Union[str, "os.PathLike[str]"],
) -> Iterator[Path]:
    """Gives the name of a folder beside ``folder``, made anew, which takes
    its place if everything went well, and is removed otherwise.

    Args:
        folder (str): The folder. What was in it goes.
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

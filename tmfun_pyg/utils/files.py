"""Files and folders that are written completely or not at all."""

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterable, Iterator, Union
from uuid import uuid4

UNWRITABLE = {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOSPC}
UNWRITABLE |= {errno.EPERM, errno.EROFS}
LEAST_FREE = 2**20  # Bytes; with fewer, a disk is full.


@contextmanager
def told_why(path: Path) -> Iterator[None]:
    """Reports which file or folder cannot be written, and why.

    Args:
        path: The file or folder that is written meanwhile.
    """
    try:
        yield
    # Many writers (torch, numpy, faiss, ...) do not say why.
    except (OSError, RuntimeError) as err:
        number = getattr(err, "errno", None)
        if number is None and shutil.disk_usage(path.parent).free < LEAST_FREE:
            number = errno.ENOSPC
        place = str(getattr(err, "filename", None))
        is_own = place in map(str, path.parents) or ".part" in place
        if number not in UNWRITABLE and not (number and is_own):
            raise
        if number == errno.EEXIST:  # A file where a folder should be.
            number = errno.ENOTDIR
        raise OSError(
            f"'{path}' cannot be written: {os.strerror(number)}"
        ) from err


@contextmanager
def atomic_write(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` on success, and is
    removed on failure.

    Args:
        path (str): The file. Its folder is created if it does not exist.
    """
    path = Path(path)
    if os.path.islink(path):  # It stays a link.
        path = Path(os.path.realpath(path))
    # Some writers choose the format by the suffix.
    part = path.with_name(f".{path.stem}.{uuid4().hex}.part{path.suffix}")
    try:
        with told_why(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            # The content must reach the disk before the name.
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        with suppress(OSError):  # It is not there, or never could be.
            part.unlink()


def check_replaceable(
    folder: Union[str, "os.PathLike[str]"], own: Iterable[str], overwrite: bool
) -> None:
    """Checks that writing a folder loses nothing.

    Args:
        folder (str): The folder.
        own (Iterable[str]): The names of the files of an earlier call.
        overwrite (bool): Whether these may be replaced.

    Raises:
        ValueError: If there are files that may not be replaced, or other
            files.
    """
    folder = Path(folder)
    if not os.path.lexists(folder):
        return
    files = os.listdir(folder) if folder.is_dir() else [folder.name]
    if files and not overwrite:
        raise ValueError(
            f"'{folder}' already exists; pass overwrite=True to replace it"
        )
    other = set(files).difference(own)
    if other:
        raise ValueError(
            f"'{folder}' must hold nothing but the files of an earlier call, "
            f"to be replaced (got {sorted(other)})"
        )


@contextmanager
def atomic_folder(folder: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yields a new temporary folder that replaces ``folder`` on success, and
    is removed on failure, along with the folders created for it.

    Args:
        folder (str): The folder. Its previous files are removed.
    """
    folder = Path(folder)
    key = uuid4().hex
    part = folder.with_name(f".{folder.name}.{key}.part")
    old = folder.with_name(f".{folder.name}.{key}.old")
    new = [path for path in folder.parents if not path.exists()]
    try:
        with told_why(folder):
            part.mkdir(parents=True)
            yield part
            if not folder.exists():
                os.replace(part, folder)
                return
            try:
                os.replace(folder, old)
                os.replace(part, folder)
            except BaseException:  # From a signal, too.
                if old.exists() and not folder.exists():
                    os.replace(old, folder)
                raise
            shutil.rmtree(old)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # It is not empty.
            for path in new:
                path.rmdir()

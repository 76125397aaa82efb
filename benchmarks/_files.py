"""Files that are whole or not there, and folders that one process has."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Callable, Iterator

try:
    import fcntl
except ImportError:  # Not on Windows: nobody stands guard there.
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file that is never seen half-written."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        write(file)
    os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text that is never seen half-written."""
    write_atomically(path, lambda file: file.write(text.encode()) and None)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Keeps other processes out; the lock ends with this one at the latest.

    Raises:
        BlockingIOError: If it is taken, and not to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if fcntl is not None:
            flags = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            fcntl.flock(file, flags)
        yield

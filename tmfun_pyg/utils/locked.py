"""A lock that ends with the process that holds it."""

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes from what a file stands for.

    Args:
        path: The file, which is made with its folder.
        wait: Whether to wait for another process.

    Raises:
        BlockingIOError: If another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            text = f"{path.parent}: another process is at work"
            raise BlockingIOError(text) from None
        yield

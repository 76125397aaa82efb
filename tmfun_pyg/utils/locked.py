"""A lock that ends with the process that holds it."""

import fcntl
import os
import socket
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
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            text = f"{path.parent}: another process is at work ({file.read()})"
            raise BlockingIOError(text) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield

"""A lock that ends with the process that holds it."""

import fcntl
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator

from tmfun_pyg.utils.files import told_why


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes from what a file stands for.

    Args:
        path: The file, which is made with its folder.
        wait: Whether to wait for another process.

    Raises:
        BlockingIOError: If another process holds the lock.
    """
    with _lock(path, wait) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _lock(path: Path, wait: bool) -> IO[str]:
    while True:
        with told_why(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            with file:
                file.seek(0)
                text = f"another process is at work ({file.read()})"
            raise BlockingIOError(f"{path.parent}: {text}") from None
        # Who had the lock before may have removed the file.
        if path.exists() and os.path.samestat(
            path.stat(), os.fstat(file.fileno())
        ):
            return file
        file.close()

"""A lock that is released when its process ends."""

import fcntl
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator

from tmfun_pyg.utils.files import told_why


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Locks a file against other processes.

    Args:
        path: The file, which is created with its folder.
        wait: Whether to wait for another process.

    Raises:
        BlockingIOError: If another process holds the lock, and :obj:`wait` is
            :obj:`False`.
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
        # The previous holder of the lock may have removed the file.
        if path.exists() and os.path.samestat(
            path.stat(), os.fstat(file.fileno())
        ):
            return file
        file.close()

import errno
from pathlib import Path
from typing import Any

import pytest

from tmfun_pyg.utils.locked import locked


def test_a_removed_lock_is_none(tmp_path: Path) -> None:
    """Who finds the file removed makes another one, and holds that."""
    path = tmp_path / "a" / "lock"
    with locked(path):
        with pytest.raises(BlockingIOError, match="another process is at work"):
            locked(path).__enter__()
        path.unlink()
        with locked(path), pytest.raises(BlockingIOError), locked(path):
            pass
    with locked(path):
        pass


def test_names_what_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = "lock' cannot be written: Permission denied"
    with pytest.raises(OSError, match=message), locked(tmp_path / "x" / "lock"):
        pass

from pathlib import Path

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

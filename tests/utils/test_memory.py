import errno
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.datasets import _processed
from tmfun_pyg.utils.memory import out_of_memory


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (MemoryError(), None),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), None),
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a"
            ),
            "20.0 GiB",
        ),
        (
            RuntimeError("MPS backend out of memory. Tried to allocate 256 MB"),
            "256.0 MB",
        ),
        (RuntimeError("CUDA error: out of memory"), None),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), None),
        (RuntimeError("unable to mmap 64 bytes: Cannot allocate memory"), None),
        (pd.errors.ParserError("C error: out of memory"), None),
        (
            RuntimeError("cannot create std::vector larger than max_size()"),
            None,
        ),
    ],
)
def test_kinds(error: Exception, tried: Any) -> None:
    expected = f" (tried to allocate {tried})" if tried else ""
    assert out_of_memory(error) == f"out of memory{expected}"


@pytest.mark.parametrize(
    "make",
    [lambda: torch.empty(2**55), lambda: np.empty(2**55, dtype=np.float32)],
)
def test_raised(make: Any) -> None:
    """By torch and numpy, and what other errors were made of."""
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        make()
    told = out_of_memory(raised.value)
    assert told is not None
    assert told.startswith("out of memory (tried to allocate 1")
    outer = ValueError("'a.ckpt' cannot be read")
    outer.__cause__ = raised.value
    assert out_of_memory(outer) == told


def test_more_than_can_be_counted() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**40, 2**40)
    assert out_of_memory(raised.value) == "out of memory"


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError("'out of memory.csv' must exist"),
        RuntimeError("a fault"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_others(error: Any) -> None:
    assert out_of_memory(error) is None


def test_processed_data(tmp_path: Path, monkeypatch: Any) -> None:
    """Is not called damaged, and not to be deleted."""

    def load(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(RuntimeError, match="can't allocate"):
        _processed.load(str(tmp_path / "data.pt"))

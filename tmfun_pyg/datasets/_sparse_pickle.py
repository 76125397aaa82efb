"""Reads pickled sparse matrices of scipy without executing the pickles."""

import pickle
import re
from typing import Any, Tuple

import numpy as np

from tmfun_pyg.datasets._files import check_file


class _Dtype:
    """Stands in for numpy's data types."""

    def __init__(self, code: str, *flags: bool) -> None:
        if re.fullmatch("[biuf][1248]", code) is None:
            raise pickle.UnpicklingError(f"values of type {code!r}")
        self.code = code

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        self.code = {">": ">"}.get(state[1], "<") + self.code


class _Array:
    """Stands in for numpy's arrays, and takes their flat values."""

    def __init__(self, *empty: Any) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        _, _, dtype, _, values = state
        self.values = np.frombuffer(values, dtype.code)


class _Matrix:
    """Stands in for scipy's matrices."""


def _from_buffer(values: bytes, dtype: _Dtype, *layout: Any) -> _Array:
    array = _Array()
    array.values = np.frombuffer(values, dtype.code)
    return array


# The names in pickles of arrays, in all versions of numpy and scipy.
NUMPY = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
}
SCIPY = re.compile(r"scipy\.sparse(\._?(coo|csr))?\.(coo|csr)_(matrix|array)")


class _Unpickler(pickle.Unpickler):
    """Knows numbers, arrays and matrices, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if SCIPY.fullmatch(path):
            return _Matrix
        if path.replace("numpy._core", "numpy.core") in NUMPY:
            return NUMPY[path.replace("numpy._core", "numpy.core")]
        raise pickle.UnpicklingError(path)


def read_sparse_pickle(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns of the nonzero entries of a matrix.

    Args:
        path (str): A pickled matrix of scipy in COO or CSR format.

    Raises:
        ValueError: If the file is missing or holds anything else.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            matrix = _Unpickler(file).load()
        if not isinstance(matrix, _Matrix):
            raise ValueError(type(matrix).__name__)
        state = vars(matrix)
        row, col, values = _entries(state)
        if not len(row) == len(col) == len(values):
            raise ValueError("parts of different lengths")
        if not np.isfinite(values).all():
            raise ValueError(
                f"values such as {values[~np.isfinite(values)][0]}"
            )
        _check_indices(row, state["_shape"][0])
        _check_indices(col, state["_shape"][1])
    except OSError:
        raise
    # The error for damaged bytes depends on the bytes.
    except Exception as err:
        raise ValueError(
            f"'{path}' must be a pickled matrix of scipy, in COO or CSR "
            f"format, and nothing else (got {type(err).__name__}: {err})"
        ) from err
    kept = values != 0
    return row[kept].astype(np.int64), col[kept].astype(np.int64)


def _entries(state: Any) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the rows, columns and values of a matrix."""
    values = state["data"].values
    if "indptr" in state:
        starts = state["indptr"].values
        # Checked before they can fill the memory.
        if starts[0] != 0 or starts[-1] != len(values):
            raise ValueError(f"rows from {starts[0]} to {starts[-1]}")
        row = np.arange(len(starts) - 1).repeat(np.diff(starts))
        return row, state["indices"].values, values
    row, col = state.get("coords") or (state["row"], state["col"])
    return row.values, col.values, values


def _check_indices(index: np.ndarray, size: int) -> None:
    if index.dtype.kind not in "iu":
        raise ValueError(f"indices of type {index.dtype}")
    if len(index) > 0 and not 0 <= index.min() <= index.max() < size:
        raise ValueError(
            f"indices from {index.min()} to {index.max()} of {size}"
        )

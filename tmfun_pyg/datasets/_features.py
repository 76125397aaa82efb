import zipfile
from typing import Callable, Literal, Optional, Tuple

import numpy as np

from tmfun_pyg.utils.messages import name_items

ZeroRows = Literal["error", "mask"]


def read_features(path: str) -> np.ndarray:
    """Reads a feature file, as it is stored.

    Args:
        path (str): A ``.npy`` file.

    Raises:
        ValueError: If the file is absent, or is no complete, plain array.
    """
    try:
        matrix = np.load(path, allow_pickle=False)
    except FileNotFoundError as err:
        raise ValueError(
            f"the feature file '{path}' does not exist: expected a .npy file "
            f"with one row an item"
        ) from err
    except (ValueError, EOFError, zipfile.BadZipFile) as err:
        raise ValueError(
            f"'{path}' cannot be read: found a truncated, pickled or foreign "
            f"file (numpy says: {err}), expected a complete .npy file of "
            f"plain floats"
        ) from err
    if not isinstance(matrix, np.ndarray):
        raise ValueError(
            f"'{path}': found an archive of arrays (.npz), expected one "
            f"array (.npy)"
        )
    return matrix


def check_zero_rows(zero_rows: str) -> None:
    """Raises a :class:`ValueError` for an unknown option."""
    if zero_rows not in ("error", "mask"):
        raise ValueError(
            f"zero_rows: found {zero_rows!r}, expected 'error' or 'mask'"
        )


def check_features(
    matrix: np.ndarray,
    source: str,
    zero_rows: ZeroRows,
    name_rows: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """Checks a feature matrix and casts it to float32.

    Args:
        matrix (np.ndarray): The matrix, one row an item.
        source (str): What an error calls it.
        zero_rows (str): ``"error"`` refuses rows that are all zero,
            ``"mask"`` takes them for items without the modality.
        name_rows (callable, optional): Maps row numbers to the item ids that
            an error names. (default: the row numbers)

    Returns:
        The float32 matrix, and a bool mask of the rows that hold content, or
        :obj:`None` if all do.

    Raises:
        ValueError: If the matrix is no matrix of finite floats, or has
            all-zero rows.
    """
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"{source}: found an array of shape {matrix.shape}, expected two "
            f"dimensions (items x features)"
        )
    if not np.issubdtype(matrix.dtype, np.floating):
        raise ValueError(
            f"{source}: found values of type {matrix.dtype}, expected floats"
        )
    # Values beyond float32 become Inf here, which the next check reports.
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)

    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{source}: found NaN or Inf (as float32) for "
            f"{name_items(name_rows(np.flatnonzero(~finite)))}, expected "
            f"finite values"
        )
    present = (matrix != 0).any(axis=1)
    if present.all():
        return matrix, None
    if zero_rows == "error":
        raise ValueError(
            f"{source}: found all-zero rows for "
            f"{name_items(name_rows(np.flatnonzero(~present)))}, expected "
            f"content; pass zero_rows='mask' if these items lack the modality"
        )
    if not present.any():
        raise ValueError(
            f"{source}: found nothing but all-zero rows, expected content "
            f"for at least one item"
        )
    return matrix, present

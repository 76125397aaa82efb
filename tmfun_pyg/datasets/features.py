"""Reads and checks feature matrices of items."""

import re
from collections.abc import Mapping
from typing import (
    Any,
    Iterator,
    List,
    Literal,
    Optional,
    Sequence,
    Tuple,
    get_args,
)

import numpy as np
import torch
from torch import Tensor

from tmfun_pyg.datasets._files import check_file
from tmfun_pyg.utils.messages import name_items

ZeroRows = Literal["error", "mask"]
# The kinds of types that features may have: booleans, integers and floats.
NUMBERS = "biuf"
# Similar items are found by these as well as by modalities:
RESERVED = ("embedding", "content")
BLOCK = 2**23  # Numbers of a matrix that are processed at once.


def read_features(path: str) -> np.ndarray:
    """Opens the array of a feature file, with its type as stored. It is
    memory-mapped and read-only.

    Args:
        path (str): A ``.npy`` file.

    Raises:
        ValueError: If the file is missing, or not a complete, plain array.
    """
    check_file(path)
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    # The error for damaged bytes depends on the bytes.
    except Exception as err:
        reason = f"'{err}'"
        # numpy's message advises loading it unsafely.
        if "pickle" in reason or "Python objects" in reason:
            reason = "Python objects, or another kind of file"
        raise ValueError(
            f"'{path}' must be a complete .npy file of plain numbers (got "
            f"{reason})"
        ) from err
    if not isinstance(matrix, np.ndarray):
        raise ValueError(f"'{path}' must be a .npy file (got an archive)")
    return matrix


def to_numpy(value: Tensor) -> np.ndarray:
    """Returns a tensor as an array, in float32 if numpy lacks its type."""
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def as_matrix(value: Any, source: str) -> np.ndarray:
    """Returns features in memory, such as a tensor or lists, as an array.

    Args:
        value (Any): The features.
        source (str): Their name in errors.

    Raises:
        ValueError: If they are not features, such as lists of different
            lengths.
    """
    try:
        if isinstance(value, Tensor):
            return to_numpy(value)
        return np.asarray(value)
    # The error depends on the value.
    except (TypeError, ValueError, RuntimeError) as err:
        reason = str(err).partition("\n")[0]
        raise ValueError(
            f"{source} must be a dense matrix (got a {type(value).__name__}: "
            f"{reason})"
        ) from err


def check_by_modality(features: Any) -> List[str]:
    """Checks that features are in a dictionary, keyed by modality, and
    returns the names of the modalities.
    """
    if not isinstance(features, Mapping):
        raise ValueError(
            f"'features' must be a dictionary of the features of each modality "
            f"(got a {type(features).__name__})"
        )
    return check_modalities(list(features), name="features")


def check_modalities(
    modalities: Sequence[str],
    zero_rows: str = "error",
    name: str = "modalities",
) -> List[str]:
    """Checks that modalities can be part of attribute and edge type names,
    and checks the option for rows of zeros.
    """
    if zero_rows not in get_args(ZeroRows):
        raise ValueError(
            f"'zero_rows' must be 'error' or 'mask' (got {zero_rows!r})"
        )
    if isinstance(modalities, str):
        raise ValueError(
            f"'{name}' must be a list of names (got the string '{modalities}')"
        )
    for modality in modalities:
        is_text = isinstance(modality, str)
        if not is_text or re.fullmatch(r"[A-Za-z0-9_-]+", modality) is None:
            raise ValueError(
                f"'{name}' must have names of letters, digits, '_' and '-' "
                f"(got {modality!r})"
            )
    taken = [x for x in modalities if x in RESERVED]
    if taken:
        raise ValueError(
            f"'{name}' must not have the names {', '.join(RESERVED)}, which "
            f"stand for more than a modality (got '{taken[0]}')"
        )
    if len(set(modalities)) < len(modalities):
        raise ValueError(
            f"'{name}' must have each name once (got {list(modalities)})"
        )
    return list(modalities)


def row_blocks(
    matrix: np.ndarray, index: Optional[np.ndarray] = None
) -> Iterator[Tuple[slice, np.ndarray]]:
    """Yields the rows of a matrix in float32, in blocks, and their positions.
    Values beyond float32 become infinite.

    Args:
        matrix (np.ndarray): The matrix.
        index (np.ndarray, optional): The rows to yield.
            (default: all)
    """
    num_rows = len(matrix) if index is None else len(index)
    step = max(1, BLOCK // matrix.shape[1])
    for start in range(0, num_rows, step):
        place = slice(start, start + step)
        rows = matrix[place if index is None else index[place]]
        with np.errstate(over="ignore"):
            block = np.array(rows, np.float32, order="C")
        yield place, block


def check_numbers(
    matrix: np.ndarray,
    source: str,
    item_ids: np.ndarray,
    to_zero: str = "set them to zero",
) -> np.ndarray:
    """Checks a feature matrix.

    Args:
        matrix (np.ndarray): The matrix, one row per item, of floats, integers
            or booleans, as in multi-hot features.
        source (str): The name of the matrix in errors.
        item_ids (np.ndarray): The item ids that errors name.
        to_zero (str, optional): How to declare that items lack the modality.
            (default: :obj:`"set them to zero"`)

    Returns:
        A bool mask of the rows with content, those that are not all zero.

    Raises:
        ValueError: If the matrix is not a matrix of finite numbers.
    """
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"{source} must have the shape [num_items, num_features] (got "
            f"{list(matrix.shape)})"
        )
    if matrix.dtype.kind not in NUMBERS:
        raise ValueError(f"{source} must hold numbers (got {matrix.dtype})")
    finite, present = np.empty((2, len(matrix)), dtype=bool)
    for rows, block in row_blocks(matrix):
        finite[rows] = np.isfinite(block).all(axis=1)
        present[rows] = (block != 0).any(axis=1)
    if not finite.all():
        raise ValueError(
            f"{source} must be finite in float32 (got NaN or Inf for "
            f"{name_items(item_ids[~finite])}); mend these rows, or "
            f"{to_zero} if these items lack the modality"
        )
    return present


def check_features(
    matrix: np.ndarray,
    source: str,
    zero_rows: ZeroRows,
    item_ids: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Checks a feature matrix and its rows of zeros.

    Args:
        matrix (np.ndarray): The matrix, see :func:`check_numbers`.
        source (str): The name of the matrix in errors.
        zero_rows (str): If set to :obj:`"error"`, rows of zeros are an error.
            If set to :obj:`"mask"`, their items lack the modality.
        item_ids (np.ndarray, optional): The item ids that errors name.
            (default: the row numbers)

    Returns:
        A bool mask of the rows with content.

    Raises:
        ValueError: If the matrix is not a matrix of finite numbers, or has
            rows of zeros.
    """
    if item_ids is None:
        item_ids = np.arange(len(matrix) if matrix.ndim > 0 else 0)
    to_zero = "set them to zero and pass zero_rows='mask'"
    present = check_numbers(matrix, source, item_ids, to_zero)
    if zero_rows == "error" and not present.all():
        raise ValueError(
            f"{source} must not have all-zero rows (got "
            f"{name_items(item_ids[~present])}); pass zero_rows='mask' if "
            f"these items lack the modality"
        )
    if not present.any():
        raise ValueError(f"{source} must not be zero for all items")
    return present

r"""Linear projection of features with many columns to few.

Models read cosines of rows (:class:`~tmfun_pyg.transforms.FeatureGraph`), and
rows of zero mean and unit variance
(:class:`~tmfun_pyg.transforms.ToRecGraph`). The map preserves both as well as
its number of columns allows: it maps the mean of a row to the mean of its
image, and the rest of the row to the first principal directions of the
standardized rows, found by a randomized subspace iteration, on a subset if
there are many rows.
"""

from typing import Optional

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tmfun_pyg.datasets.features import row_blocks
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.standard_rows import standard_rows

LARGE = 2**28  # Numbers of a matrix: 1 GiB in single precision.
DEFAULT = 256  # Columns that larger matrices are projected to.
PASSES = 4  # Over the rows, to find the directions.
SAMPLE = 2**17  # Rows of a larger matrix to find them from.
MOST_CHANGE = 0.01  # Of a row in float16, in standard deviations.
MORE = 32  # Directions computed in addition to those that are kept.


def check_channels(channels: Optional[int]) -> None:
    """Checks the argument ``feature_channels``."""
    if channels is not None:
        check_count("feature_channels", channels, 2)


def channels_of(matrix: np.ndarray, channels: Optional[int]) -> int:
    """Returns the number of columns that a matrix is projected to, by default
    :obj:`DEFAULT` if it is large.
    """
    if channels is None:
        channels = DEFAULT if matrix.size > LARGE else matrix.shape[1]
    return min(channels, matrix.shape[1])


def fit_projection(
    matrix: np.ndarray, used: np.ndarray, channels: int, source: str
) -> Tensor:
    """Fits the projection of a matrix, which is read in blocks.

    Args:
        matrix (np.ndarray): The matrix, of finite numbers.
        used (np.ndarray): A bool mask of the rows to fit it on; of more than
            :obj:`SAMPLE`, that many are read, evenly spaced.
        channels (int): The number of columns, fewer than those of the matrix.
        source (str): The name of the matrix, for the progress bar.

    Returns:
        A float32 matrix with orthonormal columns, of shape
        :obj:`[num_features, channels]`.
    """
    index = np.flatnonzero(used)
    if len(index) > SAMPLE:
        index = index[np.arange(SAMPLE) * len(index) // SAMPLE]
    num_features = matrix.shape[1]
    size = min(channels - 1 + MORE, num_features - 1)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(
        num_features, size, generator=generator, dtype=torch.double
    )
    total = PASSES * len(index)
    options = {"unit": " rows", "unit_scale": True, "delay": 1}
    with tqdm(total=total, desc=source, disable=None, **options) as bar:
        for _ in range(PASSES):
            basis = _off_mean(image)
            image = torch.zeros_like(basis)
            for _, block in row_blocks(matrix, index):
                x = standard_rows(torch.from_numpy(block))
                image += x.t() @ (x @ basis.float())
                bar.update(len(x))
    # The eigenvectors with the largest eigenvalues, which come last:
    _, vector = torch.linalg.eigh(basis.t() @ image)
    basis = basis @ vector.flip(1)[:, : channels - 1]
    row = basis.abs().argmax(dim=0, keepdim=True)
    basis *= basis.gather(0, row).sign()
    off_mean = _off_mean(torch.eye(channels, channels - 1, dtype=torch.double))
    mean = (num_features * channels) ** -0.5
    return (basis @ off_mean.t() + mean).float()


def _off_mean(columns: Tensor) -> Tensor:
    """Returns an orthonormal basis of columns, without their means."""
    columns = torch.cat([torch.ones_like(columns[:, :1]), columns], dim=1)
    return torch.linalg.qr(columns).Q[:, 1:]


def to_half(matrix: np.ndarray, source: str) -> np.ndarray:
    """Returns a matrix in float16, block by block.

    Raises:
        ValueError: If a row changes by more than a hundredth of its standard
            deviation, by which models scale it.
    """
    out = np.empty(matrix.shape, np.float16)
    for rows, block in row_blocks(matrix):
        with np.errstate(over="ignore"):
            out[rows] = block
        change = np.abs(out[rows].astype(np.float32) - block).max(axis=1)
        spread = block.std(axis=1, dtype=np.float64)
        # Constant rows have no spread; take their size:
        spread = np.where(spread > 0, spread, np.abs(block).max(axis=1))
        is_lost = change > MOST_CHANGE * spread
        if is_lost.any():
            row = int(is_lost.argmax())
            raise ValueError(
                f"{source} must have rows that float16 holds to "
                f"{MOST_CHANGE:.0%} of their standard deviation (got a change "
                f"of {change[row] / spread[row]:.2g} times it in row "
                f"{rows.start + row}); leave out 'half'"
            )
    return out


def to_features(
    matrix: np.ndarray, projection: Optional[Tensor] = None
) -> np.ndarray:
    """Returns a matrix as models read it: in float32, and projected if
    ``projection`` is given.
    """
    if projection is None:
        return np.require(matrix, np.float32, ["C", "W", "E"])
    out = np.empty((len(matrix), projection.size(1)), np.float32)
    # In double precision, so that equal rows stay equal across blocks.
    weight = projection.double().numpy()
    for rows, block in row_blocks(matrix):
        out[rows] = block.astype(np.float64) @ weight
    return out

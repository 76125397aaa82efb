"""Search for the nearest rows of a matrix, exactly or approximately."""

import math
import warnings
from typing import Iterable, Iterator, Optional, Sequence, Tuple, TypeVar

import torch
from torch import Tensor
from torch_geometric.nn.pool import KNNIndex
from tqdm import tqdm

from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.topk import stable_topk, wide_topk

# The scores of a block of rows take up to 128 MiB in float64, and the rows
# gathered to compare candidates 16 MiB: larger pieces of memory are allocated
# by the system, and returned to it, each time.
BLOCK_SCORES = 2**24
BLOCK_GATHERED = 2**21
# The number of extra candidates that are compared without rounding errors. The
# more, the fewer rows are searched again in float64.
MARGIN = 16
# Of the approximate search: the number of rows to measure recall on, the
# number of rows to search at once, the number of training rows per cell (faiss
# warns about fewer), and the number of candidates per neighbor.
SAMPLE = 1000
BLOCK_ROWS = 4096
MIN_TRAIN, MAX_TRAIN = 39, 64
WIDEN = (8, 32)

# Features are rounded to multiples of 2^-BITS. All terms of a score are then
# integers below 2^53, which float64 sums without error.
BITS = 25

T = TypeVar("T")


def unit_rows(x: Tensor) -> Tensor:
    r"""Scales rows to unit length, whatever their scale. All-zero rows are
    unchanged.

    Args:
        x (torch.Tensor): The rows (float64), of shape :obj:`[num_rows, dim]`.
            They are overwritten.
    """
    largest = torch.linalg.vector_norm(x, ord=math.inf, dim=1, keepdim=True)
    # Powers of two are exact, and squares of the rest stay in range:
    exponent = largest.frexp().exponent.clamp(min=-1000)
    x.mul_(torch.exp2(-exponent.double()))
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x.div_(norm.masked_fill_(norm == 0, 1.0))


def round_features(x: Tensor) -> Tensor:
    r"""Returns features as integers in float64, whose sums of products are
    exact.

    Args:
        x (torch.Tensor): Rows of unit length at most (float64), of shape
            :obj:`[num_rows, dim]`. They are overwritten.
    """
    return x.mul_(2**BITS).round_()


def exact_neighbors(
    q: Tensor,
    k: int,
    rows: Optional[Tensor] = None,
    block_size: Optional[int] = None,
) -> Tensor:
    r"""Returns the :obj:`k` nearest other rows of each row. Ties go to the
    lower index.

    Args:
        q (torch.Tensor): Integers in float64, whose sums of products stay
            below :math:`2^{53}`, of shape :obj:`[num_rows, dim]`.
        k (int): The number of neighbors, less than :obj:`num_rows`.
        rows (torch.Tensor, optional): The rows to search for. (default: all)
        block_size (int, optional): The number of rows searched at once.
            (default: as many as keep a block within 128 MiB)

    Returns:
        The neighbors in ascending order, of shape :obj:`[len(rows), k]`.
    """
    if rows is None:
        rows = torch.arange(len(q), device=q.device)
    if k == 0:
        return rows.new_empty((len(rows), 0))
    width = k + MARGIN
    block_size = block_size or max(1, BLOCK_SCORES // len(q))
    square = _square(q)
    if width >= len(q) or not _multiplies_in_float32():
        return _search_in_float64(q, square, rows, k, block_size)

    # Centering keeps distances, and reduces rounding errors.
    centered = q - q.mean(dim=0)
    norm = _square(centered)
    bound = _bound_error(q.size(1), norm)
    y, norm = centered.float(), norm.float()
    del centered

    found, proven = [], []
    # Allocating a new block of scores costs more than filling it.
    buffer = y.new_empty((min(block_size, len(rows)), len(q)))
    for block in _show(rows.split(block_size)):
        score = buffer[: len(block)]
        # Autocast would multiply in half precision.
        with torch.autocast(q.device.type, enabled=False):
            torch.addmm(norm, y[block], y.t(), beta=-1, alpha=2, out=score)
        _set_own(score, block)
        value, candidate = wide_topk(score, width)
        # No other row scores more than `last`, and k candidates score at least
        # `kth`: if they differ by more than both errors, no other row is near.
        kth, last = value[:, k - 1].double(), value[:, -1].double()
        proven.append(last + bound < kth - bound)
        found.append(_choose(q, square, block, candidate, k))

    neighbor = torch.cat(found)
    doubtful = (~torch.cat(proven)).nonzero().squeeze(1)
    neighbor[doubtful] = _search_in_float64(
        q, square, rows[doubtful], k, block_size
    )
    return neighbor


def nearest_rows(x: Tensor, known: Tensor, k: int) -> Tensor:
    r"""Returns the :obj:`k` rows of a matrix with the largest inner product
    with each row of another one, in descending order. Ties go to the lower
    index.

    Args:
        x (torch.Tensor): The query rows, of shape :obj:`[num_rows, dim]`.
        known (torch.Tensor): The rows to search, of shape
            :obj:`[num_known, dim]`.
        k (int): The number of neighbors, at most :obj:`num_known`.
    """
    if len(x) == 0:
        return torch.empty((0, k), dtype=torch.long, device=x.device)
    size = max(1, BLOCK_SCORES // max(1, len(known)))
    return torch.cat([stable_topk(b @ known.t(), k)[1] for b in x.split(size)])


def approximate_neighbors(
    q: Tensor, k: int, recall: float, block_size: Optional[int] = None
) -> Tensor:
    r"""Returns :obj:`k` near other rows of each row, which faiss finds in the
    nearest cells of a partition.

    It visits as many cells as it takes to reach the recall on a sample of
    rows.

    Args:
        q (torch.Tensor): As in :func:`exact_neighbors`.
        k (int): As in :func:`exact_neighbors`.
        recall (float): The share of neighbors to find. Any row as near as the
            last of the :obj:`k` nearest ones counts as found.
        block_size (int, optional): As in :func:`exact_neighbors`.

    Returns:
        As in :func:`exact_neighbors`, for all rows.
    """
    import_extra("faiss", "ann")
    if k == 0 or len(q) <= SAMPLE:  # The sample would be all rows.
        return exact_neighbors(q, k, block_size=block_size)
    device, q = q.device, q.cpu()
    y = (q - q.mean(dim=0)).float()
    y = torch.nn.functional.pad(y, (0, q.size(1) % 2))  # In pairs, see below.
    perm = torch.randperm(len(q), generator=torch.Generator().manual_seed(0))
    index = _build_index(y, perm)

    square = _square(q)
    sample = perm[:SAMPLE]
    nearest = exact_neighbors(q, k, sample, block_size)
    kth = _score(q, square, sample, nearest).amin(dim=1, keepdim=True)
    size = block_size or BLOCK_ROWS
    best = 0.0

    def search(rows: Tensor, width: int) -> Tensor:
        """Compares the index's candidates without rounding errors."""
        candidate = index.search(y[rows], width).index
        return _choose(q, square, rows, candidate, k)

    for width, num_cells in _efforts(k, index.index.nlist):
        index.index.nprobe = num_cells
        found = torch.cat([search(rows, width) for rows in sample.split(size)])
        score = _score(q, square, sample, found)
        best = max(best, float((score >= kth).float().mean()))
        if best >= recall:
            break
    else:
        warnings.warn(
            f"FeatureGraph searches exactly: its approximate search must find "
            f"{recall:.1%} of the neighbors of a sample (got {best:.1%})",
            stacklevel=2,
        )
        return exact_neighbors(q, k, block_size=block_size).to(device)

    blocks = torch.arange(len(q)).split(size)
    neighbor = torch.cat([search(rows, width) for rows in _show(blocks)])
    # The cells visited may hold fewer than k rows.
    short = (neighbor < 0).any(dim=1).nonzero().squeeze(1)
    if len(short) > 0:
        neighbor[short] = exact_neighbors(q, k, short, block_size)
    return neighbor.to(device)


def _multiplies_in_float32() -> bool:
    """Whether no setting lowers the precision of float32 products."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # Set per backend, which this cannot read.
        return False


def _square(x: Tensor) -> Tensor:
    """The squared lengths of the rows, without a copy of all features."""
    return torch.einsum("nd,nd->n", x, x)


def _bound_error(dim: int, norm: Tensor) -> Tensor:
    """Returns an upper bound on the error of a float32 score.

    A score :obj:`2 y_i y_j - |y_j|^2` sums :obj:`dim + 1` terms, whose
    magnitudes add up to at most :obj:`3 max |y|^2`. In any order, each is
    rounded fewer than :obj:`dim + 8` times, by at most :obj:`2^-24` of itself.
    A factor of 4 instead of 3 covers the products of such errors.
    """
    return 4 * (dim + 8) * 2**-24 * norm.max()


def _show(blocks: Sequence[T]) -> Iterable[T]:
    """Shows a progress bar if the loop takes long."""
    return tqdm(blocks, desc="Searching neighbors", delay=10, mininterval=1)


def _set_own(score: Tensor, rows: Tensor) -> None:
    """Excludes each row from its own neighbors."""
    score[torch.arange(len(rows), device=rows.device), rows] = -torch.inf


def _score(q: Tensor, square: Tensor, rows: Tensor, other: Tensor) -> Tensor:
    """Scores a few other rows, or :obj:`-1` for none, for each row."""
    size = max(1, BLOCK_GATHERED // (other.size(1) * max(q.size(1), 1)))
    parts = zip(rows.split(size), other.split(size), strict=True)
    score = torch.cat([(q[j] @ q[i].unsqueeze(2)).squeeze(2) for i, j in parts])
    score.mul_(2).sub_(square[other])
    excluded = (other == rows.unsqueeze(1)) | (other < 0)
    return score.masked_fill_(excluded, -torch.inf)


def _choose(
    q: Tensor, square: Tensor, rows: Tensor, candidate: Tensor, k: int
) -> Tensor:
    """Returns the nearest of the candidates, in ascending order."""
    candidate = candidate.sort(dim=1).values  # Ties go to the first.
    index = stable_topk(_score(q, square, rows, candidate), k)[1]
    return candidate.gather(1, index.sort(dim=1).values)


def _search_in_float64(
    q: Tensor, square: Tensor, rows: Tensor, k: int, block_size: int
) -> Tensor:
    """Compares all rows without rounding errors."""
    neighbor = []
    for block in _show(rows.split(block_size)):
        # |q_i|^2 - |q_i - q_j|^2, which orders j by distance, and rows of the
        # same length by cosine.
        score = torch.addmm(square, q[block], q.t(), beta=-1, alpha=2)
        _set_own(score, block)
        neighbor.append(stable_topk(score, k)[1].sort(dim=1).values)
    return torch.cat(neighbor)


def _build_index(y: Tensor, perm: Tensor) -> KNNIndex:
    """Partitions the rows, and stores them in 4 bits per pair of features.

    PyG's own approximate index classes only offer 8-bit codes, which take
    several times longer to compare.
    """
    num_cells = min(4 * math.isqrt(len(y)), len(y) // MIN_TRAIN)
    index = KNNIndex(f"IVF{num_cells},PQ{y.size(1) // 2}x4fs")
    index.add(y[perm[: MAX_TRAIN * num_cells]])  # Trains on what it adds.
    index.index.reset()
    index.add(y)
    return index


def _efforts(k: int, num_cells: int) -> Iterator[Tuple[int, int]]:
    """Yields the numbers of candidates and of cells to try, in order.

    Visiting more cells would take about as long as the exact search.
    """
    for widen in WIDEN:
        for exponent in range((num_cells // 4).bit_length()):
            yield widen * k, 2**exponent

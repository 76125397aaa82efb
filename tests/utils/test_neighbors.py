import sys

import pytest
import torch
from torch_geometric.testing import withDevice

from tmfun_pyg.transforms import FeatureGraph
from tmfun_pyg.utils import neighbors as _neighbors
from tmfun_pyg.utils.neighbors import approximate_neighbors, exact_neighbors


def draw(num_rows, dim, size=2**24, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(-size, size + 1, (num_rows, dim), generator=rng)


def reference(q, k):
    """Sorts the distances, which are integers here."""
    far = (q[:, None] - q).square().sum(dim=2)
    assert far.dtype == torch.long
    far.fill_diagonal_(2**62)
    order = far.sort(dim=1, stable=True).indices
    return order[:, :k].sort(dim=1).values


@pytest.fixture
def searched_again(monkeypatch):
    """The numbers of rows that were searched in float64."""
    counts = []
    search = _neighbors._search_in_float64

    def count(q, square, rows, k, block_size):
        counts.append(len(rows))
        return search(q, square, rows, k, block_size)

    monkeypatch.setattr(_neighbors, "_search_in_float64", count)
    return counts


@pytest.mark.parametrize("k", [0, 1, 10, 149])
@pytest.mark.parametrize("block_size", [None, 1, 7, 1000])
def test_exact(k, block_size):
    q = draw(150, 6)
    found = exact_neighbors(q.double(), k, block_size=block_size)
    assert torch.equal(found, reference(q, k))


def test_some_rows(searched_again):
    q, rows = draw(150, 6), torch.tensor([140, 3, 77])
    found = exact_neighbors(q.double(), 4, rows, block_size=2)
    assert torch.equal(found, reference(q, 4)[rows])
    assert searched_again == [0]


def make_clusters(num_rows, num_clusters):
    """Rows that differ by a few units, around centres that are far apart."""
    centre = draw(num_clusters, 6)
    cluster = torch.arange(num_rows) % num_clusters
    return centre[cluster] + draw(num_rows, 6, size=5, seed=1)


@pytest.mark.parametrize(
    ("num_clusters", "expected"),
    [
        (10, 0),  # Of 20 rows, all of which are candidates.
        (4, 200),  # Of 50 rows, which float32 cannot tell apart.
    ],
)
def test_float32_would_be_wrong(searched_again, num_clusters, expected):
    q = make_clusters(200, num_clusters)
    y = q.float()
    score = torch.addmm(y.square().sum(1), y, y.t(), beta=-1, alpha=2)
    score.fill_diagonal_(-torch.inf)
    near = score.topk(10).indices.sort(dim=1).values
    assert not torch.equal(near, reference(q, 10))

    found = exact_neighbors(q.double(), 10)
    assert torch.equal(found, reference(q, 10))
    assert searched_again == [expected]


def test_only_doubtful_rows_are_searched_again(searched_again):
    q = torch.cat([draw(300, 6, seed=2), make_clusters(40, 1)])
    q = q[torch.randperm(340, generator=torch.Generator().manual_seed(0))]
    found = exact_neighbors(q.double(), 10, block_size=33)
    assert torch.equal(found, reference(q, 10))
    assert 40 <= searched_again[0] < 60


def test_rows_far_from_the_origin(searched_again):
    """Where they are does not cost digits."""
    q = draw(150, 6, size=2**12)
    found = exact_neighbors((q + 2**22).double(), 4)
    assert torch.equal(found, reference(q, 4))
    assert searched_again == [0]


def test_many_ties(searched_again):
    q = draw(7, 6)[torch.arange(210) % 7]
    found = exact_neighbors(q.double(), 10)
    assert torch.equal(found, reference(q, 10))
    assert searched_again == [210]


def test_wide(searched_again, monkeypatch):
    # Wide enough for blocks of columns in the top-k.
    q = draw(9000, 4).double()
    rows = torch.arange(0, 9000, 10)
    found = exact_neighbors(q, 1, rows)
    assert searched_again[0] < 90
    monkeypatch.setattr(_neighbors, "_multiplies_in_float32", lambda: False)
    assert torch.equal(found, exact_neighbors(q, 1, rows))
    assert searched_again[1] == 900


@pytest.mark.parametrize("num_rows", [60, 200])
@pytest.mark.parametrize("dim", [1, 128, 2000])
def test_error_bound(num_rows, dim):
    # Terms of one sign, whose rounding errors are the largest.
    size = int(2**25 / dim**0.5)
    q = draw(num_rows, dim, size).abs().double()
    centered = q - q.mean(dim=0)
    norm = centered.square().sum(dim=1)
    y = centered.float()
    score = torch.addmm(norm.float(), y, y.t(), beta=-1, alpha=2)
    error = score - (2 * centered @ centered.t() - norm)
    bound = _neighbors._bound_error(dim, norm)
    assert float(error.abs().max()) < float(bound)


def test_precision(searched_again):
    q = draw(150, 6)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        found = exact_neighbors(q.double(), 5)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, reference(q, 5))
    assert searched_again == [150]


def test_precision_set_by_backend(searched_again, monkeypatch):
    def get():
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", get)
    exact_neighbors(draw(150, 6).double(), 5)
    assert searched_again == [150]


def test_autocast(searched_again):
    q = draw(150, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = exact_neighbors(q.double(), 5)
    assert torch.equal(found, reference(q, 5))
    assert searched_again == [0]


def test_no_progress_bar_on_short_work(capsys):
    exact_neighbors(draw(150, 6).double(), 5, block_size=1)
    assert capsys.readouterr().err == ""


def make_features(num_items=3000, hidden=3, dim=17):
    """Features near a plane, which an index can make use of."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(num_items, hidden, generator=rng)
    x = x @ torch.randn(hidden, dim, generator=rng)
    return x + 0.01 * torch.randn(num_items, dim, generator=rng)


def to_integers(x):
    return (x / x.norm(dim=1).max() * 2**25).double().round()


def measure_recall(found, expected):
    same = found.unsqueeze(2) == expected.unsqueeze(1)
    return float(same.any(dim=1).float().mean())


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.99])
def test_approximate(recall):
    pytest.importorskip("faiss")
    q = to_integers(make_features())
    found = approximate_neighbors(q, 10, recall)
    assert found.size() == (3000, 10)
    assert bool((found.diff(dim=1) > 0).all())
    assert int(found.min()) >= 0
    assert not bool((found == torch.arange(3000).unsqueeze(1)).any())
    expected = exact_neighbors(q, 10)
    share = measure_recall(found, expected)
    assert share > recall - 0.02
    assert share < 1  # Else this did not test the approximate search.
    assert torch.equal(found, approximate_neighbors(q, 10, recall))


@pytest.mark.parametrize("block_size", [100, 5000])
def test_approximate_block_size(block_size):
    pytest.importorskip("faiss")
    q = to_integers(make_features())
    found = approximate_neighbors(q, 5, 0.9, block_size)
    share = measure_recall(found, exact_neighbors(q, 5))
    assert share > 0.88


def test_approximate_without_structure():
    pytest.importorskip("faiss")
    q = draw(1500, 64, size=2**20).double()
    with pytest.warns(UserWarning, match=r"must find 100\.0% .*got .*%"):
        found = approximate_neighbors(q, 4, 1.0)
    assert torch.equal(found, exact_neighbors(q, 4))


def test_approximate_on_few_rows():
    pytest.importorskip("faiss")
    q = draw(1000, 6).double()
    found = approximate_neighbors(q, 4, 0.5)
    assert torch.equal(found, exact_neighbors(q, 4))


@pytest.mark.filterwarnings("error")
def test_approximate_equal_rows():
    pytest.importorskip("faiss")
    # Any of 375 equal rows is as near as those of lower index.
    q = draw(4, 6)[torch.arange(1500) % 4].double()
    found = approximate_neighbors(q, 10, 1.0)
    assert torch.equal(q[found], q.unsqueeze(1).expand(-1, 10, -1))


def test_approximate_small_cells():
    pytest.importorskip("faiss")
    # Rows so far away that they share their cells with too few others.
    q = (to_integers(make_features()) / 1000).round()
    q[:3] = 2**25 * torch.eye(3, 17)
    found = approximate_neighbors(q, 10, 0.1)
    assert torch.equal(found[:3], exact_neighbors(q, 10, torch.arange(3)))


def test_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "tmfun-pyg\[ann\]"'):
        approximate_neighbors(draw(20, 3).double(), 2, 0.9)
    assert FeatureGraph(recall=0.9).recall == 0.9  # Needed only in a search.


@withDevice
def test_device(device):
    q = draw(150, 6)
    found = exact_neighbors(q.double().to(device), 5)
    assert found.device == torch.device(device)
    assert torch.equal(found.cpu(), reference(q, 5))

    pytest.importorskip("faiss")
    q = to_integers(make_features())
    expected = approximate_neighbors(q, 5, 0.9)
    found = approximate_neighbors(q.to(device), 5, 0.9)
    assert found.device == torch.device(device)
    assert torch.equal(found.cpu(), expected)

import pytest
import torch
from torch_geometric.testing import withDevice

from tmfun_pyg.utils.topk import GroupLimit, grouped_topk, stable_topk


@withDevice
@pytest.mark.parametrize("num_values", [1, 2, 10, 10**6])
@pytest.mark.parametrize(
    ("n", "k"),
    [
        *[(40, k) for k in (1, 7, 39, 40)],
        # Wide enough for blocks of columns, some left over at the end:
        *[(n, k) for n in (6143, 6144, 6200, 9001) for k in (1, 11)],
    ],
)
def test_equals_a_stable_sort(
    device: torch.device, num_values: int, n: int, k: int
) -> None:
    torch.manual_seed(k)
    scores = torch.randint(num_values, (25, n), device=device).float()
    scores[torch.rand_like(scores) < 0.2] = -torch.inf
    scores[0] = -torch.inf
    expected, order = scores.sort(dim=1, descending=True, stable=True)

    value, index = stable_topk(scores, k)
    assert torch.equal(value, expected[:, :k])
    assert torch.equal(index, order[:, :k])


def test_no_rows() -> None:
    value, index = stable_topk(torch.empty(0, 5), 3)
    assert value.size() == index.size() == (0, 3)


def test_largest_entries_side_by_side() -> None:
    # All in one block of columns, or all among those left over.
    scores = torch.rand(3, 9001)
    for row, first in enumerate((640, 700, 8990)):
        scores[row, first : first + 11] = torch.arange(11.0, 0, -1)
    value, index = stable_topk(scores, 10)
    assert value.tolist() == [[11.0, 10, 9, 8, 7, 6, 5, 4, 3, 2]] * 3
    assert index[:, 0].tolist() == [640, 700, 8990]
    assert bool((index.diff(dim=1) == 1).all())


def test_columns_of_another_layout() -> None:
    scores = torch.rand(9001, 20).t()
    value, index = stable_topk(scores, 5)
    expected = stable_topk(scores.contiguous(), 5)
    assert torch.equal(value, expected[0])
    assert torch.equal(index, expected[1])


@withDevice
@pytest.mark.parametrize(("most", "num_groups"), [(1, 3), (2, 9), (3, 60)])
@pytest.mark.parametrize("num_values", [1, 5, 10**6])
def test_few_of_a_group(
    device: torch.device, most: int, num_groups: int, num_values: int
) -> None:
    torch.manual_seed(0)
    scores = torch.randint(num_values, (20, 90), device=device).float()
    scores[torch.rand_like(scores) < 0.2] = -torch.inf
    scores[0] = -torch.inf
    group = torch.randint(-1, num_groups, (90,), device=device)
    group[:40] = 0  # So that the first columns do not suffice.
    value, index = grouped_topk(scores, 7, GroupLimit(group, most))
    order = scores.sort(dim=1, descending=True, stable=True).indices
    for row in range(20):
        expected: list = []
        for column in order[row].tolist():
            mine = group[column]
            taken = [c for c in expected if group[c] == mine and mine >= 0]
            if scores[row, column] > -torch.inf and len(taken) < most:
                expected.append(column)
        expected = expected[:7]
        assert index[row, : len(expected)].tolist() == expected
        assert torch.equal(value[row, : len(expected)], scores[row, expected])
        assert value[row, len(expected) :].eq(-torch.inf).all()

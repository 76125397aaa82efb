import pytest
import torch
from torch_geometric.testing import withDevice

from tmfun_pyg.topk import stable_topk


@withDevice
@pytest.mark.parametrize("num_values", [1, 2, 10, 10**6])
@pytest.mark.parametrize("k", [1, 7, 39, 40])
def test_equals_a_stable_sort(
    device: torch.device, num_values: int, k: int
) -> None:
    torch.manual_seed(k)
    scores = torch.randint(num_values, (25, 40), device=device).float()
    scores[torch.rand_like(scores) < 0.2] = -torch.inf
    scores[0] = -torch.inf
    expected, order = scores.sort(dim=1, descending=True, stable=True)

    value, index = stable_topk(scores, k)
    assert torch.equal(value, expected[:, :k])
    assert torch.equal(index, order[:, :k])


def test_no_rows() -> None:
    value, index = stable_topk(torch.empty(0, 5), 3)
    assert value.size() == index.size() == (0, 3)

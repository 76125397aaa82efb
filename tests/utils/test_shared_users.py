import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.utils import shared_users
from tmfun_pyg.utils.schema import INTERACTS, REVERSE
from tmfun_pyg.utils.shared_users import SharedUsers


def draw(density: float, num_items: int = 15) -> torch.Tensor:
    """Interactions, with a user and an item that have none."""
    torch.manual_seed(0)
    r = (torch.rand(40, num_items) < density).float()
    r[3], r[:, 6] = 0, 0
    return r


def graph(r: torch.Tensor) -> HeteroData:
    data = HeteroData()
    for edge_type, matrix in ((INTERACTS, r), (REVERSE, r.t())):
        data[edge_type].edge_index = EdgeIndex(
            matrix.nonzero().t(),
            sparse_size=tuple(matrix.size()),
            sort_order="row",
        )
    return data


# Few pairs are summed in another way than many:
@pytest.mark.parametrize("density", [0.0, 0.05, 0.6])
def test_sums(density: float) -> None:
    r = draw(density)
    user_weight, item_weight = torch.rand(40), torch.rand(3)
    item = torch.tensor([9, 6, 0])
    rows = SharedUsers(graph(r)).rows(item)
    assert torch.equal(rows.to_dense(), r.t()[item] @ r)
    cell = rows.row * 15 + rows.col
    assert bool((cell.diff() > 0).all())

    rows = SharedUsers(graph(r), user_weight).rows(item, item_weight)
    expected = item_weight.view(-1, 1) * (r.t()[item] * user_weight @ r)
    torch.testing.assert_close(rows.to_dense(), expected)


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are of few pairs, or a single item, and of few items."""
    r = draw(0.3)
    monkeypatch.setattr(shared_users, "BLOCK_PAIRS", 200)
    pairs = (r.t() @ r).sum(dim=1)
    blocks = SharedUsers(graph(r)).blocks()
    assert torch.cat(blocks).tolist() == list(range(15))
    assert 1 < len(blocks) < 15
    for block in blocks:
        assert int(pairs[block[1:]].sum()) <= 200

    monkeypatch.setattr(shared_users, "BLOCK_PAIRS", 10**6)
    monkeypatch.setattr(shared_users, "MAX_CELLS", 15 * 4)
    blocks = SharedUsers(graph(r)).blocks()
    assert [len(block) for block in blocks] == [4, 4, 4, 3]

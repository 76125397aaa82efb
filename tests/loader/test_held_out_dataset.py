import pytest
import torch
from torch.utils.data import DataLoader
from torch_geometric.data import HeteroData

from tmfun_pyg.loader import HeldOutDataset


def make_data() -> HeteroData:
    data = HeteroData()
    data["user"].num_nodes = 5
    data["item"].num_nodes = 4
    store = data["user", "interacts", "item"]
    store.edge_index = torch.tensor([[0, 1, 4, 4], [0, 0, 1, 2]])
    # User 2 has nothing to learn from, user 1 nothing to be judged by:
    store.val_edge_label_index = torch.tensor([[4, 2, 0, 4], [3, 0, 2, 0]])
    store.test_edge_label_index = torch.tensor([[2, 3], [1, 1]])
    return data


def test_users_left_out() -> None:
    (user, label_index), *rest = HeldOutDataset(make_data(), "val")
    assert rest == []
    assert user.tolist() == [0, 4]
    assert label_index.tolist() == [[0, 1, 1], [2, 0, 3]]


def test_blocks() -> None:
    dataset = HeldOutDataset(make_data(), "val", batch_size=1)
    assert len(dataset) == 2
    (first, first_label), (second, second_label) = DataLoader(
        dataset, batch_size=None
    )
    assert first.tolist() == [0]
    assert first_label.tolist() == [[0], [2]]
    assert second.tolist() == [4]
    assert second_label.tolist() == [[0, 0], [0, 3]]


def test_every_block_in_one_process() -> None:
    whole = HeldOutDataset(make_data(), "val", batch_size=1)
    parts = [
        HeldOutDataset(make_data(), "val", 1, num_replicas=3, rank=rank)
        for rank in range(3)
    ]
    # Two blocks for three processes: the last one gets an empty block.
    assert [len(part) for part in parts] == [1, 1, 1]
    for index in range(2):
        for x, expected in zip(parts[index][0], whole[index], strict=True):
            assert torch.equal(x, expected)
    user, label_index = parts[2][0]
    assert user.size() == (0,)
    assert label_index.size() == (2, 0)


def test_bad_arguments() -> None:
    data = make_data()
    with pytest.raises(ValueError, match=r"'rank' .* 0 to 1 \(got 2\)"):
        HeldOutDataset(data, "val", num_replicas=2, rank=2)
    with pytest.raises(ValueError, match="'val' or 'test' \\(got 'train'\\)"):
        HeldOutDataset(data, "train")
    with pytest.raises(ValueError, match=r"'batch_size' .* \(got 0\)"):
        HeldOutDataset(data, "val", batch_size=0)
    with pytest.raises(ValueError, match="No user of the test split"):
        HeldOutDataset(data, "test")
    del data["user", "interacts", "item"].val_edge_label_index
    with pytest.raises(ValueError, match="holds no 'val_edge_label_index'"):
        HeldOutDataset(data, "val")

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torch_geometric.data import HeteroData

from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.transforms import ToRecGraph


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


def test_another_split() -> None:
    data = make_data()
    store = data["user", "interacts", "item"]
    store.cold_test_edge_label_index = torch.tensor([[1, 3], [3, 3]])
    ((user, label_index),) = HeldOutDataset(data, "cold_test")
    assert user.tolist() == [1]
    assert label_index.tolist() == [[0], [3]]


@pytest.mark.parametrize("as_mask", [False, True])
def test_items(as_mask: bool) -> None:
    items = torch.tensor([3, 0, 2, 3])
    if as_mask:
        items = torch.tensor([True, False, True, True])
    ((user, label_index),) = HeldOutDataset(make_data(), "val", items=items)
    assert user.tolist() == [0, 4]
    # Item 2 is in the second place, item 3 in the third one:
    assert label_index.tolist() == [[0, 1, 1], [1, 0, 2]]


def test_users() -> None:
    users = torch.tensor([4])
    dataset = HeldOutDataset(make_data(), "val", users=users)
    ((user, label_index),) = dataset
    assert user.tolist() == dataset.users.tolist() == [4]
    assert label_index.tolist() == [[0, 0], [0, 3]]
    assert dataset.num_users == 1
    users = torch.tensor([4, 0, 4])  # In any order, and each once.
    ((user, label_index),) = HeldOutDataset(make_data(), "val", users=users)
    assert user.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([0, 1, 2], r"one of the val split \(got 2 others, such as 1\)"),
        ([0, 5], r"\(got 1 others, such as 5\)"),
        ([[0]], r"vector of indices \(got torch.int64 of shape \[1, 1\]"),
        ([0.0], "vector of indices .got torch.float32"),
        ([], "vector of indices"),
    ],
)
def test_users_that_cannot_be_judged(users: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"'users' must .*{message}"):
        HeldOutDataset(make_data(), "val", users=torch.tensor(users))


def test_graph_of_models() -> None:
    data = ToRecGraph()(make_data())
    # As trainers validate:
    with torch.inference_mode():
        ((user, label_index),) = HeldOutDataset(data, "val")
    assert user.tolist() == [0, 4]
    assert label_index.tolist() == [[0, 1, 1], [2, 0, 3]]


def test_bad_items() -> None:
    data = make_data()
    for items, message in (
        (torch.tensor([0, 3]), "1 interactions .* such as 2"),
        (torch.tensor([], dtype=torch.long), r"at least one item \(got none\)"),
        (torch.tensor([0, 4]), r"from 0 to 3 \(got 0 to 4\)"),
        (torch.tensor([-1, 2]), r"from 0 to 3 \(got -1 to 2\)"),
        (torch.ones(3, dtype=torch.bool), r"mask of 4 items .* \[3\]"),
        (torch.tensor([0.0, 2.0]), "float32"),
        (torch.tensor([[0], [2]]), r"shape \[2, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            HeldOutDataset(data, "val", items=items)


def test_bad_arguments() -> None:
    data = make_data()
    with pytest.raises(ValueError, match=r"'rank' .* 0 to 1 \(got 2\)"):
        HeldOutDataset(data, "val", num_replicas=2, rank=2)
    with pytest.raises(
        ValueError, match=r"one of \['val', 'test'\] \(got 'train'\)"
    ):
        HeldOutDataset(data, "train")
    with pytest.raises(ValueError, match=r"'batch_size' .* \(got 0\)"):
        HeldOutDataset(data, "val", batch_size=0)
    with pytest.raises(ValueError, match="No user of the test split"):
        HeldOutDataset(data, "test")
    del data["user", "interacts", "item"].val_edge_label_index
    with pytest.raises(ValueError, match="holds no 'val_edge_label_index'"):
        HeldOutDataset(data, "val")


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ([[0, 0], [1, 1]], r"test_edge_label_index must hold each pair once"),
        ([[0, 0], [1, 0]], r"no pair of edge_index, .* \(got 1\)"),
        ([[0, 0], [1, 9]], r"test_edge_label_index\[1\] .* 0 to 3 \(got 9\)"),
        ([[0, 5], [1, 1]], r"test_edge_label_index\[0\] .* 0 to 1 \(got 5\)"),
    ],
)
def test_held_out_pairs_that_cannot_be_judged(held_out, message):
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 2, 4
    store = data["user", "interacts", "item"]
    store.edge_index = torch.tensor([[0, 1], [0, 2]])
    store.test_edge_label_index = torch.tensor(held_out)
    with pytest.raises(ValueError, match=message):
        HeldOutDataset(data, "test")

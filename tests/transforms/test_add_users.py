import copy

import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.transforms import AddUsers, ToRecGraph

# A new user of three items, the last of them cold, and user 2 with one:
PAIRS = torch.tensor([[1, 0, 0, 0], [4, 5, 0, 3]])
KNOWN = torch.tensor([-1, 2])


@pytest.fixture
def graph():
    data = make_data(num_modalities=2, missing=True)
    store = data["user", "interacts", "item"]
    store.edge_index = store.edge_index[:, store.edge_index[1] != 5]
    return ToRecGraph()(data)


def test_added_users(graph):
    before = copy.deepcopy(graph.to_dict())
    found = AddUsers(PAIRS, KNOWN)(graph)
    assert str(graph.to_dict()) == str(before)  # On a copy.
    assert found["user"].num_nodes == NUM_USERS + 2
    assert found["user"].added.tolist() == [-1, 2]
    assert found["user"].degree[NUM_USERS:].tolist() == [3, 1]

    degree = graph["item"].degree
    assert degree[5] == 0
    assert torch.equal(found["item"].degree, degree)
    to_user = found["user", "interacts", "item"]
    num_edges = graph["user", "interacts", "item"].edge_index.size(1)
    added = to_user.edge_index.as_tensor()[:, num_edges:]
    expected = [[NUM_USERS] * 3 + [NUM_USERS + 1], [0, 3, 5, 4]]
    assert added.tolist() == expected
    weight = 1 / (torch.tensor([3.0, 3.0, 3.0, 1.0]) * degree[added[1]]).sqrt()
    weight[2] = 1 / 3**0.5  # As if the cold item had one interaction.
    torch.testing.assert_close(to_user.edge_weight[num_edges:], weight)
    # Item 0 has no content, item 1 lacks the first modality:
    assert found["user"].mask[NUM_USERS:].all()
    scale = torch.tensor([[3**0.5 / 2] * 3, [1.0] * 3])
    torch.testing.assert_close(found["user"].scale[NUM_USERS:], scale)


def test_nothing_else_moves(graph):
    found = AddUsers(PAIRS, KNOWN)(graph)
    for name in ("degree", "mask", "scale"):
        assert torch.equal(found["user"][name][:NUM_USERS], graph["user"][name])
    for edge_type in graph.edge_types:
        index = graph[edge_type].edge_index.as_tensor()
        more = found[edge_type].edge_index.as_tensor()
        assert torch.equal(more[:, : index.size(1)], index)
        if edge_type[0] != "user":
            assert more.shape == index.shape  # They send nothing.
        weight = found[edge_type].edge_weight[: index.size(1)]
        assert torch.equal(weight, graph[edge_type].edge_weight)
    reverse = found["item", "rev_interacts", "user"].edge_index
    assert tuple(reverse.get_sparse_size()) == (NUM_ITEMS, NUM_USERS + 2)


def test_alone(graph):
    """The same of the added users, and nobody else."""
    every = AddUsers(PAIRS, KNOWN)(graph)
    before = copy.deepcopy(graph.to_dict())
    found = AddUsers(PAIRS, KNOWN, alone=True)(graph)
    assert str(graph.to_dict()) == str(before)  # On a copy.
    assert found["user"].num_nodes == 2
    assert found["user"].added.tolist() == [-1, 2]
    for name in ("degree", "mask", "scale"):
        assert torch.equal(found["user"][name], every["user"][name][NUM_USERS:])
    to_user = found["user", "interacts", "item"]
    assert tuple(to_user.edge_index.get_sparse_size()) == (2, NUM_ITEMS)
    assert to_user.edge_index.as_tensor().tolist() == [
        [0, 0, 0, 1],
        [0, 3, 5, 4],
    ]
    weight = every["user", "interacts", "item"].edge_weight[-4:]
    assert torch.equal(to_user.edge_weight, weight)
    assert ("item", "rev_interacts", "user") not in found.edge_types
    for name in ("x_m0", "mask", "degree"):
        assert found["item"][name] is graph["item"][name]


def test_bad_users(graph):
    for pairs, known, match in (
        (PAIRS, KNOWN[:1], r"'edge_index'\[0\] must .* 0 to 0 \(got 1\)"),
        (PAIRS + 1, KNOWN, "'edge_index'"),
        (PAIRS[:, [0, 0]], KNOWN, "each pair once"),
        (PAIRS, torch.tensor([-1, 7]), r"from -1 to 6 \(got 7\)"),
        (PAIRS, torch.tensor([-2, 0]), r"from -1 to 6 \(got -2\)"),
    ):
        with pytest.raises(ValueError, match=match):
            AddUsers(pairs, known)(graph)
    with pytest.raises(ValueError, match="after ToRecGraph"):
        AddUsers(PAIRS, KNOWN)(make_data(num_modalities=1, missing=False))
    found = AddUsers(PAIRS, KNOWN)(graph)
    with pytest.raises(ValueError, match="users of AddUsers"):
        AddUsers(PAIRS, KNOWN)(found)

from typing import Any, Callable

import pytest
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

INTERACTS = "data['user', 'interacts', 'item']"
SIMILAR = "data['item', 'similar_image', 'item']"


def make_data() -> HeteroData:
    """12 interactions of 6 users and 5 items, and a graph of neighbors."""
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 6, 5
    pairs = [(u, (u + j) % 5) for u in range(6) for j in range(2)]
    edge_index = torch.tensor(pairs).t().contiguous()
    data["user", "interacts", "item"].edge_index = edge_index
    data["item"].x_image = torch.randn(5, 3)
    store = data["item", "similar_image", "item"]
    store.edge_index = torch.tensor([[0, 1, 2], [1, 2, 3]])
    store.edge_weight = torch.ones(3)
    return data


def set_item(name: str, value: Any) -> Callable[[HeteroData], None]:
    return lambda data: setattr(data["item"], name, value)


def set_pairs(value: Any) -> Callable[[HeteroData], None]:
    store = ("user", "interacts", "item")
    return lambda data: setattr(data[store], "edge_index", value)


def set_similar(name: str, value: Any) -> Callable[[HeteroData], None]:
    store = ("item", "similar_image", "item")
    return lambda data: setattr(data[store], name, value)


def drop_pairs(data: HeteroData) -> None:
    store = data["user", "interacts", "item"]
    store.adj_t = store.edge_index
    del store.edge_index


@pytest.mark.parametrize("transform", [FeatureGraph(k=2), ToRecGraph()])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            set_item("x_image", torch.randn(4, 3)),
            "x_image must be of shape [5, num_features] (got [4, 3])",
        ),
        (
            set_item("x_image", torch.randn(5)),
            "x_image must be of shape [5, num_features] (got [5])",
        ),
        (
            set_item("x_image", torch.randn(5, 0)),
            "x_image must be of shape [5, num_features] (got [5, 0])",
        ),
        (
            set_item("x_image", ["a"] * 5),
            "x_image must be a tensor of numbers (got list)",
        ),
        (
            set_item("x_image", torch.full((5, 3), torch.nan)),
            "x_image must be finite (got NaN or Inf for 5 item(s): 0, 1, 2",
        ),
        (
            set_item("mask_image", torch.ones(5).long()),
            "mask_image must be a tensor of bool of shape [5] "
            "(got torch.int64 of shape [5])",
        ),
        (
            set_item("mask_image", torch.ones(4).bool()),
            "mask_image must be a tensor of bool of shape [5] "
            "(got torch.bool of shape [4])",
        ),
        (
            set_item("mask_image", [True] * 5),
            "mask_image must be a tensor of bool of shape [5] (got list)",
        ),
        (
            set_item("num_nodes", None),
            "data['item'].num_nodes must be given, at least 1 (got ",
        ),
        (
            set_pairs([[0], [1]]),
            f"{INTERACTS}.edge_index must be a tensor (got list)",
        ),
        (drop_pairs, f"{INTERACTS} must have an 'edge_index' (got ['adj_t'])"),
        (
            set_pairs(torch.tensor([[0], [5]])),
            f"{INTERACTS}.edge_index[1] must hold indices from 0 to 4 (got 5)",
        ),
        (
            set_similar("edge_index", torch.tensor([[7, 1, 2], [1, 2, 3]])),
            f"{SIMILAR}.edge_index[0] must hold indices from 0 to 4 (got 7)",
        ),
        (
            set_similar("edge_index", torch.tensor([[0, 1, 2], [1, -2, 3]])),
            f"{SIMILAR}.edge_index[1] must hold indices from 0 to 4 (got -2)",
        ),
        (
            set_similar("edge_index", torch.tensor([[0, 0, 2], [1, 1, 3]])),
            f"{SIMILAR}.edge_index must hold each pair once (got 1 repeated)",
        ),
        (
            set_similar("edge_weight", torch.ones(2)),
            f"{SIMILAR}.edge_weight must be of shape [3] (got [2])",
        ),
        (
            set_similar("edge_weight", torch.full((3,), torch.inf)),
            f"{SIMILAR}.edge_weight must be finite",
        ),
    ],
)
def test_graphs_made_by_hand(
    transform: Any, change: Callable[[HeteroData], None], message: str
) -> None:
    data = make_data()
    change(data)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        transform(data)
    assert message in str(error.value)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_short_integers(dtype: torch.dtype) -> None:
    data, other = make_data(), make_data()
    store = other["user", "interacts", "item"]
    store.edge_index = store.edge_index.to(dtype)
    other["item"].x_image = data["item"].x_image
    for made, expected in zip(
        *(
            ToRecGraph()(FeatureGraph(k=2)(x)).edge_stores
            for x in (other, data)
        ),
        strict=True,
    ):
        assert made.edge_index.equal(expected.edge_index)
        assert made.edge_weight.equal(expected.edge_weight)


def test_absent_rows_may_hold_anything() -> None:
    data = make_data()
    data["item"].x_image[2] = torch.nan
    data["item"].mask_image = torch.tensor([True, True, False, True, True])
    assert (ToRecGraph()(data)["item"].x_image[2] == 0).all()

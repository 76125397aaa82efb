import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from tmfun_pyg.utils.schema import is_rec_graph


@functional_transform("hold_out_items")
class HoldOutItems(BaseTransform):
    r"""Holds out a random share of the items from training, to evaluate models
    on items that nobody has interacted with yet (functional name:
    :obj:`hold_out_items`).

    These items are cold, the others warm. In
    :obj:`data['user', 'interacts', 'item']`,

    * :obj:`edge_index`, :obj:`val_edge_label_index` and
      :obj:`test_edge_label_index` keep the interactions with warm items;
    * :obj:`cold_val_edge_label_index` is added, with the validation
      interactions with cold items;
    * :obj:`cold_test_edge_label_index` is added, with the training
      interactions with cold items, followed by the test interactions.

    Users without any warm training item cannot be evaluated, and are left out
    of the two added splits. The reverse relation
    :obj:`data['item', 'rev_interacts', 'user']` loses the same interactions as
    training, and the mask :obj:`data['item'].is_cold` marks the cold items.
    Everything else is unchanged. Apply it before
    :class:`~tmfun_pyg.transforms.FeatureGraph`, which gives cold items edges
    from warm ones, but no outgoing edges.

    Args:
        ratio (float, optional): The share of cold items, rounded to whole
            items. (default: :obj:`0.2`)
        seed (int, optional): The random seed. (default: :obj:`0`)

    Raises:
        ValueError: If :obj:`ratio` is out of range or leaves no cold or no
            warm item; if :obj:`data` lacks a split, or items are held out
            already; if there are feature graphs already, or the graph is one
            of :class:`~tmfun_pyg.transforms.ToRecGraph`.
    """

    def __init__(self, ratio: float = 0.2, seed: int = 0) -> None:
        if not 0 < ratio < 1:
            raise ValueError(
                f"'ratio' must be above 0 and below 1 (got {ratio})"
            )
        self.ratio = ratio
        self.seed = seed

    def forward(self, data: HeteroData) -> HeteroData:
        r"""Moves the interactions with cold items."""
        if is_rec_graph(data):
            raise ValueError("Apply HoldOutItems() before ToRecGraph()")
        if "is_cold" in data["item"]:
            raise ValueError("Items of 'data' are held out already")
        if any(name.startswith("similar_") for _, name, _ in data.edge_types):
            raise ValueError("Apply HoldOutItems() before FeatureGraph()")
        store = data["user", "interacts", "item"]
        names = ["edge_index", "val_edge_label_index", "test_edge_label_index"]
        missing = [name for name in names if name not in store]
        if missing:
            raise ValueError(
                f"data['user', 'interacts', 'item'] must hold {names} (no "
                f"{missing})"
            )

        is_cold = self._draw(data["item"].num_nodes)
        is_cold = is_cold.to(store.edge_index.device)
        cold = []
        for name in names:
            mask = is_cold[store[name][1]]
            cold.append(store[name][:, mask])
            store[name] = store[name][:, ~mask]
        train, val, test = cold
        num_users = data["user"].num_nodes
        is_trained = torch.bincount(store.edge_index[0], minlength=num_users)
        for name, index in (
            ("cold_val_edge_label_index", val),
            ("cold_test_edge_label_index", torch.cat([train, test], dim=1)),
        ):
            store[name] = index[:, is_trained[index[0]] > 0]

        reverse = ("item", "rev_interacts", "user")
        if reverse in data.edge_types:
            edge_index = data[reverse].edge_index
            data[reverse].edge_index = edge_index[:, ~is_cold[edge_index[0]]]
        data["item"].is_cold = is_cold
        return data

    def _draw(self, num_items: int) -> Tensor:
        num_cold = round(self.ratio * num_items)
        if not 0 < num_cold < num_items:
            raise ValueError(
                f"'ratio' must leave cold and warm items (got {self.ratio}, "
                f"which holds out {num_cold} of {num_items} items)"
            )
        # Sampled on the CPU, for the same items on all devices:
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(num_items, generator=generator)
        is_cold = torch.zeros(num_items, dtype=torch.bool)
        is_cold[order[:num_cold]] = True
        return is_cold

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(ratio={self.ratio}, seed={self.seed})"
        )

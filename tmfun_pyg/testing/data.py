from typing import Sequence

import torch
from torch import Tensor
from torch_geometric.data import HeteroData


def make_data(
    num_users: int = 7,
    num_items: int = 6,
    in_channels: Sequence[int] = (3, 4),
    missing: bool = False,
    cold: Sequence[int] = (),
    seed: int = 0,
) -> HeteroData:
    r"""Generates a small random data set with features and directed, weighted
    feature graphs, as it is before :class:`~tmfun_pyg.transforms.ToRecGraph`.

    User 0 has interacted with item 0, unless that is cold, and the last user
    with none.

    Args:
        num_users (int, optional): The number of users. (default: :obj:`7`)
        num_items (int, optional): The number of items. (default: :obj:`6`)
        in_channels (List[int], optional): The feature sizes of the modalities
            :obj:`m0`, :obj:`m1` and so on. (default: :obj:`(3, 4)`)
        missing (bool, optional): If set to :obj:`True`, item 0 has no
            modality, and item 1 lacks the first one. (default: :obj:`False`)
        cold (List[int], optional): Items without an interaction.
            (default: :obj:`()`)
        seed (int, optional): The random seed. (default: :obj:`0`)
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = num_users, num_items
    is_chosen = draw(num_users, num_items) < 0.4
    is_chosen[-1], is_chosen[0, 0] = False, True
    is_chosen[:, list(cold)] = False
    edge_index = is_chosen.nonzero().t().contiguous()
    data["user", "interacts", "item"].edge_index = edge_index
    for m, size in enumerate(in_channels):
        mask = torch.ones(num_items, dtype=torch.bool)
        if missing:
            mask[0], mask[1] = False, m > 0
            data["item"][f"mask_m{m}"] = mask
        data["item"][f"x_m{m}"] = draw(num_items, size).logit()
        weight = draw(num_items, num_items) * mask * mask.view(-1, 1)
        weight = weight.where(weight > 0.5, 0.0)
        edge_index = weight.nonzero().t().contiguous()
        store = data["item", f"similar_m{m}", "item"]
        store.edge_index = edge_index
        store.edge_weight = weight[tuple(edge_index)]
    return data

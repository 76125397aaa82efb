from typing import List, Mapping

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.neighbors import nearest_rows, round_features, unit_rows
from tmfun_pyg.utils.schema import INTERACTS, is_rec_graph, modalities_of


@functional_transform("add_items")
class AddItems(BaseTransform):
    r"""Adds items without interactions after all others (functional name:
    :obj:`add_items`).

    In each feature graph of :obj:`data`, a new item :math:`i` gets edges of
    weight :math:`1 / k` from the :math:`k` warm items of :obj:`data` with the
    largest cosine similarity. These are the edges that
    :class:`~tmfun_pyg.transforms.FeatureGraph` gives to a cold item. New items
    have no outgoing edges, so nothing changes for existing items, and new ones
    can be added in any order.

    Args:
        features (Dict[str, torch.Tensor]): The features of the new items, of
            shape :obj:`[num_new, num_features]`, for each modality of
            :obj:`data`. An all-zero row marks an item that lacks the modality;
            if a modality is not given, all new items lack it.
        k (int, optional): The number of neighbors. (default: :obj:`10`)

    Raises:
        ValueError: If :obj:`k` is not positive; if there are no features; if
            features differ in size from those of :obj:`data`, are not finite,
            or are of a modality that it does not have; if an item has no
            features at all.
    """

    def __init__(self, features: Mapping[str, Tensor], k: int = 10) -> None:
        check_count("k", k)
        if len(features) == 0:
            raise ValueError("'features' must hold a modality (got none)")
        sizes = {name: x.size(0) for name, x in features.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"'features' must have the same number of rows for every "
                f"modality (got {sizes})"
            )
        self.features = dict(features)
        self.k = k
        self.num_new = next(iter(sizes.values()))

    @torch.no_grad()
    def forward(self, data: HeteroData) -> HeteroData:
        r"""Adds the items to :obj:`data`."""
        if is_rec_graph(data):
            raise ValueError("Apply AddItems() before ToRecGraph()")
        item, modalities = data["item"], modalities_of(data)
        num_items = item.num_nodes
        self._check(data, modalities)
        is_warm = torch.ones(num_items, dtype=torch.bool)
        if INTERACTS in data.edge_types:
            target = data[INTERACTS].edge_index[1]
            is_warm = degree(target, num_items) > 0
        for name in modalities:
            known = item[f"x_{name}"]
            x = known.new_zeros((self.num_new, known.size(1)))
            x = self.features.get(name, x)
            if known.dtype == torch.half != x.dtype:
                known = known.float()  # For features too large for float16.
            x = x.to(known)
            is_new = (x != 0).any(dim=1)
            is_known = item.get(f"mask_{name}")
            if is_known is None:
                is_known = is_new.new_ones(num_items)
            edge_type = ("item", f"similar_{name}", "item")
            if edge_type in data.edge_types:
                source = self._nearest(
                    x, known, is_known & is_warm.to(x.device), is_new
                )
                k = source.size(1)
                target = num_items + is_new.nonzero().view(-1)
                edges = torch.stack(
                    [source.flatten(), target.repeat_interleave(k)]
                )
                store = data[edge_type]
                weight = store.edge_weight.new_full(target.shape, 1 / max(1, k))
                weight = weight.repeat_interleave(k)
                store.edge_index = torch.cat([store.edge_index, edges], dim=1)
                store.edge_weight = torch.cat([store.edge_weight, weight])
            item[f"x_{name}"] = torch.cat([known, x])
            mask = torch.cat([is_known, is_new])
            if not mask.all():
                item[f"mask_{name}"] = mask
        item.num_nodes = num_items + self.num_new
        if "is_cold" in item:  # From HoldOutItems().
            is_cold = item.is_cold.new_ones(self.num_new)
            item.is_cold = torch.cat([item.is_cold, is_cold])
        return data

    def _check(self, data: HeteroData, modalities: List[str]) -> None:
        has_any = torch.zeros(self.num_new, dtype=torch.bool)
        for name, x in self.features.items():
            if name not in modalities:
                raise ValueError(
                    f"'features' must be of {modalities} (got '{name}')"
                )
            num_features = data["item"][f"x_{name}"].size(1)
            if x.dim() != 2 or x.size(1) != num_features:
                raise ValueError(
                    f"features['{name}'] must be of shape [num_items, "
                    f"{num_features}] (got {list(x.shape)})"
                )
            finite = x.isfinite().all(dim=1)
            if not bool(finite.all()):
                raise ValueError(
                    f"features['{name}'] must be finite (got NaN or Inf in row "
                    f"{int(finite.int().argmin())})"
                )
            has_any |= (x != 0).any(dim=1).cpu()
        if not bool(has_any.all()):
            raise ValueError(
                f"'features' must hold some content of each item (got none in "
                f"row {int(has_any.int().argmin())})"
            )

    def _nearest(
        self, x: Tensor, known: Tensor, is_source: Tensor, is_new: Tensor
    ) -> Tensor:
        """Returns the sources nearest to each new item."""
        candidates = is_source.nonzero().view(-1)
        old = round_features(unit_rows(known[candidates].double()))
        new = round_features(unit_rows(x[is_new].double()))
        k = min(self.k, candidates.numel())
        return candidates[nearest_rows(new, old, k)]

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(num_items={self.num_new}, k={self.k})"
        )

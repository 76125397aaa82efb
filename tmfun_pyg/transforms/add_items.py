from typing import Dict, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from tmfun_pyg.transforms.to_rec_graph import is_rec_graph, modalities_of
from tmfun_pyg.utils.topk import stable_topk

BLOCK = 2**24  # Similarities held at once: 128 MiB of float64.


@functional_transform("add_items")
class AddItems(BaseTransform):
    r"""Adds items that nobody has interacted with, behind all others
    (functional name: :obj:`add_items`).

    In the graph of each modality that :obj:`data` has, a new item :math:`i`
    gets edges from the :math:`k` items of :obj:`data` whose features have the
    largest cosine similarity with its own, of weight :math:`1 / k`, as
    :class:`~tmfun_pyg.transforms.FeatureGraph` weighs them where all items
    have :math:`k` edges. There are no edges from new items: all that was
    known stays as it is.

    Args:
        features (Dict[str, torch.Tensor]): The features of the new items, of
            shape :obj:`[num_new, num_features]`, for each modality of
            :obj:`data`. A row that is all zero, or a modality that is not
            given, stands for items that lack the modality.
        k (int, optional): The number of neighbors. (default: :obj:`10`)

    Raises:
        ValueError: If :obj:`k` is not positive; if there are no features; if
            the features are of another size than in :obj:`data`, not finite,
            or of a modality that it does not have; if an item has no
            features at all.
    """

    def __init__(self, features: Mapping[str, Tensor], k: int = 10) -> None:
        if k < 1:
            raise ValueError(f"'k' must be at least 1 (got {k})")
        if len(features) == 0:
            raise ValueError("features: found none, expected a modality")
        sizes = {name: x.size(0) for name, x in features.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"features: found {sizes} rows, expected as many for each "
                f"modality"
            )
        self.features = dict(features)
        self.k = k
        self.num_new = next(iter(sizes.values()))

    @torch.no_grad()
    def forward(self, data: HeteroData) -> HeteroData:
        r"""Adds the items to :obj:`data`."""
        if is_rec_graph(data):
            raise ValueError("Apply AddItems() before ToRecGraph()")
        item = data["item"]
        num_items = item.num_nodes
        assert num_items is not None
        modalities = modalities_of(data)
        masks = self._check(data, modalities)
        for name in modalities:
            known = item[f"x_{name}"]
            x = self.features.get(name)
            if x is None:
                x = known.new_zeros((self.num_new, known.size(1)))
            x = x.to(known)
            old_mask = item.get(f"mask_{name}")
            if old_mask is None:
                old_mask = masks[name].new_ones(num_items)
            mask = torch.cat([old_mask, masks[name]])
            edge_type = ("item", f"similar_{name}", "item")
            if edge_type in data.edge_types:
                source = self._nearest(x, known, old_mask, masks[name])
                new = num_items + masks[name].nonzero().view(-1)
                target = new.repeat_interleave(source.size(1))
                edges = torch.stack([source.flatten(), target])
                store = data[edge_type]
                store.edge_index = torch.cat([store.edge_index, edges], dim=1)
                if "edge_weight" in store:
                    weight = store.edge_weight.new_full(
                        (edges.size(1),), 1 / max(1, source.size(1))
                    )
                    store.edge_weight = torch.cat([store.edge_weight, weight])
            item[f"x_{name}"] = torch.cat([known, x])
            if not mask.all():
                item[f"mask_{name}"] = mask
        item.num_nodes = num_items + self.num_new
        return data

    def _check(
        self, data: HeteroData, modalities: "list[str]"
    ) -> Dict[str, Tensor]:
        """Returns which of the new items have which modality."""
        masks: Dict[str, Tensor] = {}
        for name, x in self.features.items():
            if name not in modalities:
                raise ValueError(
                    f"features: found the modality '{name}', expected some of "
                    f"{modalities}"
                )
            known = data["item"][f"x_{name}"]
            if x.dim() != 2 or x.size(1) != known.size(1):
                raise ValueError(
                    f"features['{name}']: found an array of shape "
                    f"{list(x.shape)}, expected {known.size(1)} features an "
                    f"item, as in training"
                )
            if not bool(x.isfinite().all()):
                row = int((~x.isfinite().all(dim=1)).nonzero()[0])
                raise ValueError(
                    f"features['{name}']: found NaN or Inf in row {row}, "
                    f"expected finite values"
                )
            masks[name] = (x != 0).any(dim=1).to(known.device)
        device = data["user", "interacts", "item"].edge_index.device
        absent = torch.zeros(self.num_new, dtype=torch.bool, device=device)
        masks = {name: masks.get(name, absent) for name in modalities}
        bare = ~torch.stack(list(masks.values())).any(dim=0)
        if bool(bare.any()):
            raise ValueError(
                f"features: found {int(bare.sum())} new item(s) without any, "
                f"the first in row {int(bare.nonzero()[0])}, expected content "
                f"to score it from"
            )
        return masks

    def _nearest(
        self, x: Tensor, known: Tensor, old_mask: Tensor, mask: Tensor
    ) -> Tensor:
        """Returns the nearest known items of each new one."""
        candidates = old_mask.nonzero().view(-1)
        old = F.normalize(known[candidates].double())
        new = F.normalize(x[mask].double())
        k = min(self.k, candidates.numel())
        size = max(1, BLOCK // max(1, candidates.numel()))
        blocks = [stable_topk(b @ old.t(), k)[1] for b in new.split(size)]
        return candidates[torch.cat(blocks)] if blocks else candidates[:0]

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(num_items={self.num_new}, k={self.k})"
        )

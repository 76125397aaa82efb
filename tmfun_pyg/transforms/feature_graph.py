from typing import Optional

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from tmfun_pyg.utils.check_data import (
    check_data,
    check_finite,
    check_interactions,
)
from tmfun_pyg.utils.messages import check_count, name_items
from tmfun_pyg.utils.neighbors import (
    approximate_neighbors,
    exact_neighbors,
    nearest_rows,
    round_features,
    unit_rows,
)
from tmfun_pyg.utils.schema import INTERACTS, is_rec_graph, modalities_of


@functional_transform("feature_graph")
class FeatureGraph(BaseTransform):
    r"""Connects each item to the :math:`k` items with the most similar
    features, in one graph per modality (functional name:
    :obj:`feature_graph`).

    For each modality :math:`m`, it adds the edge type
    :obj:`('item', 'similar_<m>', 'item')` with :obj:`edge_index` (from
    neighbor to item, sorted by item, then neighbor) and an :obj:`edge_weight`
    of :math:`1 / k`, so that propagation is a mean over the :math:`k`
    neighbors of an item.

    Cold items, without training interactions, get edges from the :math:`k`
    nearest warm items, and have no outgoing edges: warm items are learned the
    same with and without them. (All items are warm if :obj:`data` has no
    interactions.) Items that lack a modality (:obj:`data['item'].mask_<m>`)
    have no edges in its graph. Without any features, nothing is added. Ties go
    to the lower index. Cosine similarities are computed block by block and
    without rounding errors, from features rounded to :math:`2^{-25}`, so the
    graph does not depend on the device, and no items x items matrix is formed.

    The exact search is quadratic in the number of items. For many items, set
    :obj:`recall`: it then searches a :obj:`faiss` index on the CPU, as
    thoroughly as it takes to find that share of the :math:`k` nearest items of
    1,000 randomly sampled items (an item as similar as the last of them counts
    as found). The candidates are compared without rounding errors. Features
    without any structure defeat an index: if searching a quarter of it does
    not reach the recall, it warns, and searches exactly. Up to 1,000 items are
    always searched exactly. Each run samples the same items and builds the
    same index.

    Args:
        k (int, optional): The number of neighbors. (default: :obj:`10`)
        recall (float, optional): If given, searches approximately, and finds
            at least this share of the neighbors of a sample of items, see
            above. Needs :obj:`pip install "tmfun-pyg[ann]"`.
            (default: :obj:`None`, which searches exactly)

    Raises:
        ImportError: If :obj:`recall` is given, but :obj:`faiss` is missing.
        ValueError: If an argument is out of range; if at most :math:`k` warm
            items have a modality; if features hold NaN or Inf, or a row is all
            zero; if the graph is one of
            :class:`~tmfun_pyg.transforms.ToRecGraph`, which has changed the
            features.
    """

    def __init__(self, k: int = 10, recall: Optional[float] = None) -> None:
        check_count("k", k)
        if recall is not None and not 0 < recall <= 1:
            raise ValueError(
                f"'recall' must be above 0 and at most 1 (got {recall})"
            )
        self.k = k
        self.recall = recall

    @torch.no_grad()
    def forward(self, data: HeteroData) -> HeteroData:
        r"""Adds the graphs to :obj:`data`."""
        if is_rec_graph(data):
            raise ValueError("Apply FeatureGraph() before ToRecGraph()")
        check_data(data)
        item = data["item"]
        is_warm = torch.ones(item.num_nodes, dtype=torch.bool)
        if INTERACTS in data.edge_types:
            _, target = check_interactions(data)
            is_warm = degree(target, item.num_nodes) > 0
        for modality in modalities_of(data):
            x = item[f"x_{modality}"]
            index = torch.arange(len(x), device=x.device)
            is_warm = is_warm.to(x.device)
            if f"mask_{modality}" in item:
                index = index[item[f"mask_{modality}"]]
            edge_index = self._connect(x, index, is_warm[index], modality)
            weight = torch.full((edge_index.size(1),), 1 / self.k)
            store = data["item", f"similar_{modality}", "item"]
            store.edge_index = edge_index
            store.edge_weight = weight.to(x.device)
        return data

    def _connect(
        self, x: Tensor, index: Tensor, is_warm: Tensor, modality: str
    ) -> Tensor:
        """Returns the edges from warm items to the items ``index``."""
        warm = index[is_warm]
        if self.k >= len(warm):
            raise ValueError(
                f"'k' must be less than the {len(warm)} warm items that have "
                f"the modality '{modality}' (got {self.k})"
            )
        x = x[index]
        _check_rows(x, index, modality)
        q = round_features(unit_rows(x.double()))
        known, cold = q[is_warm], q[~is_warm]
        source = warm.new_empty((len(index), self.k))
        if self.recall is None:
            source[is_warm] = warm[exact_neighbors(known, self.k)]
        else:
            found = approximate_neighbors(known, self.k, self.recall)
            source[is_warm] = warm[found]
        nearest, _ = nearest_rows(cold, known, self.k).sort(dim=1)
        source[~is_warm] = warm[nearest]
        target = index.repeat_interleave(self.k)
        return torch.stack([source.flatten(), target])

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(k={self.k}, recall={self.recall})"


def _check_rows(x: Tensor, index: Tensor, modality: str) -> None:
    source = f"data['item'].x_{modality}"
    check_finite(source, x, index)
    zero = ~x.any(dim=1)
    if zero.any():
        raise ValueError(
            f"{source} must not have all-zero rows (got all-zero rows for "
            f"{name_items(index[zero].cpu().numpy())}); mark items that lack "
            f"the modality in data['item'].mask_{modality}"
        )

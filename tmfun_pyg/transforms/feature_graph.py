from typing import List, Literal, Optional, Sequence

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import scatter, to_undirected

from tmfun_pyg.utils.messages import name_items
from tmfun_pyg.utils.neighbors import (
    approximate_neighbors,
    exact_neighbors,
)

# Features are rounded to multiples of 2^-BITS of the longest row. All terms
# of a score are then integers below 2^53, which float64 sums without error.
BITS = 25


@functional_transform("feature_graph")
class FeatureGraph(BaseTransform):
    r"""Connects each item to the :math:`k` items with the most similar
    features, in one graph a modality (functional name:
    :obj:`feature_graph`).

    For each modality :math:`m` an edge type
    :obj:`('item', 'similar_<m>', 'item')` is added, with :obj:`edge_index`
    (from neighbor to centre, sorted by centre, then neighbor) and
    :obj:`edge_weight` (float32). With :obj:`normalize`, the weight of the
    edge from :math:`j` to :math:`i` is

    .. math::
        w_{ji} = \frac{1}{\sqrt{d_j \cdot d_i}}

    where :math:`d_i` is the number of edges into :math:`i`, the degree as
    :func:`~torch_geometric.nn.conv.gcn_conv.gcn_norm` takes it. Without
    :obj:`force_undirected` every item has :math:`k` edges, and the weights
    of its edges sum to one; with it, the weights form the symmetric matrix
    :math:`\mathbf{D}^{-1/2} \mathbf{A} \mathbf{D}^{-1/2}`. Without
    :obj:`normalize` all weights are one.

    Items that lack a modality (:obj:`data['item'].mask_<m>`) have no edges
    of it. Of equally similar items, those with a lower index are taken.
    Similarities are computed without rounding errors from features that are
    rounded to :math:`2^{-25}` of the longest row, block by block, so that the
    graph depends neither on the block size nor on the device, and no matrix
    of all pairs of items is held.

    The time this takes grows with the square of the number of items. For
    many items, give :obj:`recall`: an index of :obj:`faiss` is then searched
    on the CPU, as thoroughly as it takes to find that share of the
    :math:`k` nearest items of 1,000 items drawn at random (an item as similar
    as the last of them counts as found). What it finds is compared without
    rounding errors. Features without any structure are too much for an
    index: if a search of a quarter of it does not find enough, there is a
    warning, and the search is exact. So it is for up to 1,000 items. The same
    items are drawn and the same index is built in each run.

    Args:
        k (int, optional): The number of neighbors. (default: :obj:`10`)
        metric (str, optional): :obj:`"cosine"` for the largest cosine
            similarity, :obj:`"euclidean"` for the smallest distance.
            (default: :obj:`"cosine"`)
        loop (bool, optional): If :obj:`True`, each item is the first of its
            own :math:`k` neighbors. (default: :obj:`False`)
        force_undirected (bool, optional): If :obj:`True`, each edge is
            added in the other direction as well. (default: :obj:`False`)
        normalize (bool, optional): Whether to normalize the edge weights
            symmetrically, see above. (default: :obj:`True`)
        modalities (List[str], optional): The modalities.
            (default: all :obj:`x_<m>` that :obj:`data['item']` holds)
        block_size (int, optional): The number of items whose neighbors are
            searched at once. (default: as many as keep a block of scores
            within 128 MiB)
        recall (float, optional): If given, searches approximately, and finds
            at least this share of the neighbors of a sample of items, see
            above. Needs :obj:`pip install "tmfun-pyg[ann]"`.
            (default: :obj:`None`, which searches exactly)

    Raises:
        ImportError: If :obj:`recall` is given, and :obj:`faiss` is missing.
        ValueError: If an argument is out of range; if there are not more
            than :math:`k` items with the modality; if features hold NaN or
            Inf; if the metric is :obj:`"cosine"` and a row is all zero.
    """

    def __init__(
        self,
        k: int = 10,
        metric: Literal["cosine", "euclidean"] = "cosine",
        loop: bool = False,
        force_undirected: bool = False,
        normalize: bool = True,
        modalities: Optional[Sequence[str]] = None,
        block_size: Optional[int] = None,
        recall: Optional[float] = None,
    ) -> None:
        if k < 1:
            raise ValueError(f"k: found {k}, expected 1 or more")
        if metric not in ("cosine", "euclidean"):
            raise ValueError(
                f"metric: found {metric!r}, expected 'cosine' or 'euclidean'"
            )
        if block_size is not None and block_size < 1:
            raise ValueError(
                f"block_size: found {block_size}, expected 1 or more"
            )
        if recall is not None and not 0 < recall <= 1:
            raise ValueError(
                f"recall: found {recall}, expected more than 0 and at most 1"
            )
        self.k = k
        self.metric = metric
        self.loop = loop
        self.force_undirected = force_undirected
        self.normalize = normalize
        self.modalities = None if modalities is None else list(modalities)
        self.block_size = block_size
        self.recall = recall

    @torch.no_grad()
    def forward(self, data: HeteroData) -> HeteroData:
        r"""Adds the graphs to :obj:`data`."""
        item = data["item"]
        for modality in self._find_modalities(data):
            x = item[f"x_{modality}"]
            index = torch.arange(len(x), device=x.device)
            if f"mask_{modality}" in item:
                index = index[item[f"mask_{modality}"]]
            edge_index = self._connect(x, index, modality)
            weight = torch.ones(edge_index.size(1), device=x.device)
            if self.normalize:
                degree = scatter(weight, edge_index[1], 0, len(x))
                weight = degree[edge_index].prod(dim=0).rsqrt()
            store = data["item", f"similar_{modality}", "item"]
            store.edge_index = edge_index
            store.edge_weight = weight
        return data

    def _find_modalities(self, data: HeteroData) -> List[str]:
        found = [
            key.removeprefix("x_")
            for key in data["item"].keys()  # noqa: SIM118 (no plain dict)
            if key.startswith("x_")
        ]
        modalities = found if self.modalities is None else self.modalities
        missing = [name for name in modalities if name not in found]
        if not modalities or missing:
            raise ValueError(
                f"modalities: found features 'x_<modality>' of {found} on "
                f"data['item'], expected {missing or 'at least one'}"
            )
        return modalities

    def _connect(self, x: Tensor, index: Tensor, modality: str) -> Tensor:
        """Returns the edges among the items ``index``."""
        if self.k >= len(index):
            raise ValueError(
                f"k: found {self.k} neighbors for modality '{modality}', "
                f"expected fewer than the {len(index)} items that have it"
            )
        q = self._to_integers(x[index].double(), index, modality)
        # With a loop, the item itself is the first of its neighbors.
        k = self.k - self.loop
        if self.recall is None:
            source = exact_neighbors(q, k, block_size=self.block_size)
        else:
            source = approximate_neighbors(q, k, self.recall, self.block_size)
        if self.loop:
            own = torch.arange(len(q), device=q.device).unsqueeze(1)
            source = torch.cat([source, own], dim=1).sort(dim=1).values
        target = index.repeat_interleave(self.k)
        edge_index = torch.stack([index[source.flatten()], target])
        if self.force_undirected:
            # Sorted by source, and symmetric: flipped, sorted by target.
            edge_index = to_undirected(edge_index).flip(0)
        return edge_index

    def _to_integers(self, x: Tensor, index: Tensor, modality: str) -> Tensor:
        """Scales the rows in place, and rounds them to integers."""
        source = f"data['item'].x_{modality}"
        finite = x.isfinite().all(dim=1)
        if not finite.all():
            raise ValueError(
                f"{source}: found NaN or Inf for "
                f"{name_items(index[~finite].cpu().numpy())}, expected "
                f"finite values"
            )
        if self.metric == "euclidean":
            x -= x.mean(dim=0)
            norm = torch.linalg.vector_norm(x, dim=1).max()
            if norm == 0:  # All rows are the same, hence zero by now.
                return x
        else:
            norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
            zero = norm.squeeze(1) == 0
            if zero.any():
                raise ValueError(
                    f"{source}: found all-zero rows for "
                    f"{name_items(index[zero].cpu().numpy())}, expected a "
                    f"direction to compare; mark items that lack the "
                    f"modality in data['item'].mask_{modality}"
                )
        return x.div_(norm).mul_(2**BITS).round_()

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(k={self.k}, metric={self.metric!r}, "
            f"loop={self.loop}, force_undirected={self.force_undirected}, "
            f"normalize={self.normalize}, modalities={self.modalities}, "
            f"recall={self.recall})"
        )

from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from tmfun_pyg.utils.edges import all_interactions, reverse
from tmfun_pyg.utils.schema import INTERACTS, REVERSE, is_rec_graph


@functional_transform("merge_splits")
class MergeSplits(BaseTransform):
    r"""Merges the validation and test interactions into training, for a model
    that is served and no longer evaluated (functional name:
    :obj:`merge_splits`). Apply it before
    :class:`~tmfun_pyg.transforms.FeatureGraph`, which connects items to those
    with a training interaction.

    Raises:
        ValueError: If there are feature graphs already, or the graph is one of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
    """

    def forward(self, data: HeteroData) -> HeteroData:
        r"""Merges the interactions."""
        if is_rec_graph(data):
            raise ValueError("Apply MergeSplits() before ToRecGraph()")
        if any(name.startswith("similar_") for _, name, _ in data.edge_types):
            raise ValueError("Apply MergeSplits() before FeatureGraph()")
        store = data[INTERACTS]
        edge_index = all_interactions(data)
        for name in [*store.keys()]:
            if name.endswith("_edge_label_index"):
                del store[name]
        store.edge_index = edge_index
        data[REVERSE].edge_index = reverse(edge_index)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}()"

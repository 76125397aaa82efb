from typing import List, Optional, Tuple, Union

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import HeteroData
from torch_geometric.loader.utils import filter_hetero_data
from torch_geometric.sampler import EdgeSamplerInput
from torch_geometric.utils import degree

from tmfun_pyg.loader.negative_sampler import NegativeSampler
from tmfun_pyg.loader.uniform_neighbor_sampler import UniformNeighborSampler
from tmfun_pyg.transforms.to_rec_graph import ToRecGraph
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.schema import INTERACTS, REVERSE, SIMILAR, is_rec_graph
from tmfun_pyg.utils.seeded import seeded


class SampledInteractionDataset(Dataset[HeteroData]):
    r"""Training interactions with freshly sampled negative items and a sampled
    neighborhood of all of them, for graphs too large for propagation on the
    whole graph in each step. It is read in whole batches, like
    :class:`~tmfun_pyg.loader.InteractionDataset`:

    .. code-block:: python

        dataset = SampledInteractionDataset(data, num_neighbors=[10, 5])
        sampler = InteractionSampler(dataset, batch_size=2048)
        loader = DataLoader(dataset, batch_size=None, sampler=sampler)
        for batch in loader:
            user, item = batch["user"], batch["item"]
            index = item.dst_pos_index, item.dst_neg_index
            loss = sum(model.loss(batch, user.src_index, *index).values())

    A batch is a :class:`~torch_geometric.data.HeteroData` of the sampled users
    and items (:obj:`n_id`), their features, and the edges sampled by
    :class:`~tmfun_pyg.loader.UniformNeighborSampler`, in the format of PyG's
    :class:`~torch_geometric.loader.LinkNeighborLoader`. Items sampled from
    feature graphs are nodes of type :obj:`"similar_item"`. As in PyG,
    :obj:`src_index` of the users and :obj:`dst_pos_index` and
    :obj:`dst_neg_index` of the items point to the nodes of the interactions.
    :class:`~tmfun_pyg.transforms.ToRecGraph` is applied to the batch in the
    process that makes it, perhaps a worker.

    An index is a tensor of positions, or a pair of positions and a random
    seed. Sampling takes place on the CPU, where the graph stays; only batches
    go to the device of the model.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`, with feature graphs if
            the model reads them.
        num_neighbors (List[int]): The number of neighbors to sample for each
            node in each hop of the user-item graph, :obj:`-1` for all. There
            have to be as many hops as the model has layers.
        num_similar (int, optional): The number of neighbors to sample in each
            feature graph. (default: :obj:`5`)
        num_negatives (int, optional): The number of negative items per
            interaction. (default: :obj:`1`)
        max_negatives (int, optional): If given, a batch has about that many
            negative items, those of its first interactions, and the others
            have none: :obj:`dst_neg_index` has fewer rows than
            :obj:`src_index`. For losses that read no more, such as a softmax
            over shared negatives, since each one needs a neighborhood.
            (default: :obj:`None`)

    Raises:
        ValueError: If there is no hop, a number is out of range, a user has
            interacted with every item, or :obj:`data` is not such a graph.
    """

    def __init__(
        self,
        data: HeteroData,
        num_neighbors: List[int],
        num_similar: int = 5,
        num_negatives: int = 1,
        max_negatives: Optional[int] = None,
    ) -> None:
        if not is_rec_graph(data):
            raise ValueError(
                "'data' must be a graph of ToRecGraph(): apply it first"
            )
        if len(num_neighbors) == 0:
            raise ValueError("'num_neighbors' must name at least one hop")
        for name, number in (
            *(("num_neighbors", number) for number in num_neighbors),
            ("num_similar", num_similar),
        ):
            if number < 1 and number != -1:
                raise ValueError(
                    f"'{name}' must be positive or -1 for all (got {number})"
                )
        check_count("num_negatives", num_negatives)
        if max_negatives is not None:
            check_count("max_negatives", max_negatives)
        self.num_hops = len(num_neighbors)
        self.num_negatives = num_negatives
        self.max_negatives = max_negatives
        self.edge_index = data[INTERACTS].edge_index.as_tensor().cpu()
        self.negative_sampler = NegativeSampler(
            self.edge_index, data["user"].num_nodes
        )
        self.transform = ToRecGraph()
        self._graph = _graph(data)
        # Models read the content of a batch's items and, in the second hop, of
        # its users' items: further hops need no similar items.
        hops = max(self.num_hops, 2)
        fanout = {}
        for edge_type in self._graph.edge_types:
            if edge_type in (INTERACTS, REVERSE):
                own = list(num_neighbors)
            else:
                own = [num_similar, num_similar]
            fanout[edge_type] = own + [0] * (hops - len(own))
        self._sampler = UniformNeighborSampler(self._graph, fanout)

    def __len__(self) -> int:
        return self.edge_index.size(1)

    def __getitem__(
        self, index: Union[Tensor, Tuple[Tensor, int]]
    ) -> HeteroData:
        if isinstance(index, tuple):
            index, seed = index
            with seeded(seed):
                return self[index]
        user, pos_item = self.edge_index[:, index]
        rows = user.numel()
        if self.max_negatives is not None:
            rows = min(rows, -(-self.max_negatives // self.num_negatives))
        neg_item = self.negative_sampler.sample(user[:rows], self.num_negatives)
        neg_user = user[:rows].repeat_interleave(self.num_negatives)
        seeds = EdgeSamplerInput(
            input_id=None,
            row=torch.cat([user, neg_user]),
            col=torch.cat([pos_item, neg_item.flatten()]),
            input_type=INTERACTS,
        )
        out = self._sampler.sample_from_edges(seeds)
        batch = filter_hetero_data(
            self._graph,
            out.node,
            out.row,
            out.col,
            out.edge,
            self._sampler.edge_permutation,
        )
        batch.set_value_dict("n_id", out.node)
        _, local, *_ = out.metadata
        size = user.numel()
        batch["user"].src_index = local[0, :size].contiguous()
        batch["item"].dst_pos_index = local[1, :size].contiguous()
        batch["item"].dst_neg_index = local[1, size:].view_as(neg_item)
        batch.num_hops = self.num_hops
        return self.transform(batch)


def _graph(data: HeteroData) -> HeteroData:
    """Returns the graph to sample from, with degrees."""
    out = HeteroData()
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    out["user"].num_nodes, out["item"].num_nodes = num_users, num_items
    out[SIMILAR].num_nodes = num_items
    out["user"].degree = data["user"].degree.cpu()
    item = data["item"]
    names = ["degree", "mask", *(f"x_{m}" for m in data.modalities)]
    for name in names:
        out["item"][name] = out[SIMILAR][name] = item[name].cpu()
    edge_index = data[INTERACTS].edge_index.as_tensor().cpu()
    out[INTERACTS].edge_index = edge_index
    out[REVERSE].edge_index = edge_index.flip(0)
    for modality in data.modalities:
        edge_type = ("item", f"similar_{modality}", "item")
        if edge_type not in data.edge_types:
            continue
        edge_index = data[edge_type].edge_index.as_tensor().cpu()
        store = out[SIMILAR, f"similar_{modality}", "item"]
        store.edge_index = edge_index
        store.edge_weight = data[edge_type].edge_weight.cpu()
        out["item"][f"degree_{modality}"] = degree(edge_index[1], num_items)
    return out

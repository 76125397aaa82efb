import copy

import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms.to_rec_graph import set_interactions


class EdgePruning(torch.nn.Module):
    r"""Drops a share of the interactions, a different one in each epoch. The
    kept ones are sampled without replacement, with probability proportional to
    :math:`1 / \sqrt{d_u d_i}`, and normalized by the remaining degrees;
    :obj:`degree` stays that of the whole graph, as in a sample.

    Args:
        share (float): The share of the interactions to drop.

    Raises:
        ValueError: If it is out of range.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(
                f"'prune' must be at least 0 and less than 1 (got {share})"
            )
        self.share = share

    def forward(self, data: HeteroData, epoch: int) -> HeteroData:
        r"""Returns a shallow copy of a graph with the edges kept in an epoch.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
            epoch (int): The epoch, which alone determines the sample.
        """
        if self.share == 0:
            return data
        # Keep the earliest of exponential clocks with the weights as rates:
        # samples any number of edges without replacement in one pass.
        store = data["user", "interacts", "item"]
        weight = store.edge_weight
        num_kept = round((1 - self.share) * weight.numel())
        generator = torch.Generator().manual_seed(epoch)
        clock = torch.empty(weight.numel(), dtype=torch.double)
        clock = clock.exponential_(generator=generator).to(weight.device)
        clock /= weight
        kept = clock.topk(max(1, num_kept), largest=False).indices
        edge_index = store.edge_index.as_tensor()[:, kept]
        data = copy.copy(data)
        set_interactions(data, edge_index, data["item"].degree.dtype)
        return data

import copy

import torch
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms.to_rec_graph import set_interactions


class EdgePruning(torch.nn.Module):
    r"""Leaves out a share of the interactions, others in each epoch. Those
    that stay are drawn without replacement, with probability proportional to
    :math:`1 / \sqrt{d_u d_i}`, and normalized by the degrees that are left;
    :obj:`degree` stays that of the whole graph, as in a sample.

    Args:
        share (float): The share of the interactions that is left out.

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
        r"""Returns a shallow copy of a graph with what is left in an epoch.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
            epoch (int): The epoch, on which alone the draw depends.
        """
        if self.share == 0:
            return data
        # The first of exponential clocks, each with the rate of its weight:
        # a draw without replacement, of any number of edges in one pass.
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

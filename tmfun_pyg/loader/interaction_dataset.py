from typing import Tuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from tmfun_pyg.loader.negative_sampler import NegativeSampler
from tmfun_pyg.utils.edges import plain_edges
from tmfun_pyg.utils.messages import check_count


class InteractionDataset(Dataset[Tuple[Tensor, Tensor, Tensor]]):
    r"""Training interactions with freshly drawn negative items, read in whole
    batches: an index is a tensor of positions, not a single one.

    Everything lives and happens on the device of :obj:`edge_index`, in the
    process that trains, without workers. Use it with an
    :class:`~tmfun_pyg.loader.InteractionSampler`:

    .. code-block:: python

        dataset = InteractionDataset(edge_index, num_users)
        sampler = InteractionSampler(dataset, batch_size=2048)
        loader = DataLoader(dataset, batch_size=None, sampler=sampler)
        for user, pos_item, neg_item in loader:
            ...

    Args:
        edge_index (torch.Tensor): The interactions, pairs of user and item,
            of shape :obj:`[2, num_interactions]`.
        num_users (int): The number of users.
        num_negatives (int, optional): The number of negative items for each
            interaction. (default: :obj:`1`)

    Raises:
        ValueError: If :obj:`num_negatives` is not positive, if a user has
            interacted with every item that anybody has interacted with, or if
            it is read by a worker.
    """

    def __init__(
        self, edge_index: Tensor, num_users: int, num_negatives: int = 1
    ) -> None:
        check_count("num_negatives", num_negatives)
        edge_index = plain_edges(edge_index)
        self.edge_index = edge_index
        self.num_negatives = num_negatives
        self.negative_sampler = NegativeSampler(edge_index, num_users)
        #: The source of negatives; samplers start it anew each epoch.
        self.generator = torch.Generator(edge_index.device)

    def __len__(self) -> int:
        return self.edge_index.size(1)

    def __getitem__(self, index: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        if get_worker_info() is not None:  # A copy, which no sampler reaches.
            raise ValueError(
                "'num_workers' must be 0 for an InteractionDataset"
            )
        user, pos_item = self.edge_index[:, index]
        neg_item = self.negative_sampler.sample(
            user, self.num_negatives, self.generator
        )
        return user, pos_item, neg_item

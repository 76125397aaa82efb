from typing import Tuple, Union

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tmfun_pyg.loader.negative_sampler import NegativeSampler
from tmfun_pyg.utils.edges import plain_edges
from tmfun_pyg.utils.messages import check_count


class InteractionDataset(Dataset[Tuple[Tensor, Tensor, Tensor]]):
    r"""Training interactions with freshly sampled negative items, read in
    whole batches: an index is a tensor of positions, not a single one.

    Everything is stored and computed on the device of :obj:`edge_index`. Use
    it with an :class:`~tmfun_pyg.loader.InteractionSampler`, which yields a
    seed for the negatives along with the positions:

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
        num_negatives (int, optional): The number of negative items per
            interaction. (default: :obj:`1`)

    Raises:
        ValueError: If :obj:`num_negatives` is not positive, or if a user has
            interacted with every item that anybody has interacted with.
    """

    def __init__(
        self, edge_index: Tensor, num_users: int, num_negatives: int = 1
    ) -> None:
        check_count("num_negatives", num_negatives)
        edge_index = plain_edges(edge_index)
        self.edge_index = edge_index
        self.num_negatives = num_negatives
        self.negative_sampler = NegativeSampler(edge_index, num_users)

    def __len__(self) -> int:
        return self.edge_index.size(1)

    def __getitem__(
        self, index: Union[Tensor, Tuple[Tensor, int]]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        generator = None
        if isinstance(index, tuple):
            index, seed = index
            generator = torch.Generator(self.edge_index.device)
            generator.manual_seed(seed)
        user, pos_item = self.edge_index[:, index]
        neg_item = self.negative_sampler.sample(
            user, self.num_negatives, generator
        )
        return user, pos_item, neg_item

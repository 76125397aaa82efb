from typing import Any, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.interaction_step import (
    interaction_step,
    step_dtype,
    step_matrix,
)
from tmfun_pyg.utils.messages import check_count

Pair = Tuple[Tensor, Tensor]


class InteractionPropagation(torch.nn.Module):
    r"""The mean of :math:`L` light graph convolutions over the user-item graph
    and their input, from the `"LightGCN: Simplifying and Powering Graph
    Convolution Network for Recommendation"
    <https://arxiv.org/abs/2002.02126>`_ paper (Eq. 3 and 4):

    .. math::
        \mathbf{X} = \frac{1}{L + 1} \sum_{l=0}^{L} \left( \mathbf{D}^{-1/2}
        \mathbf{A} \mathbf{D}^{-1/2} \right)^l \mathbf{E}

    It computes the same as :class:`torch_geometric.nn.models.LightGCN`, but as
    one linear operator by Horner's rule: nothing is kept between the layers,
    there is no separate sum of layers, and the backward pass is the same
    operator with the transposed graph.

    Args:
        num_layers (int): The number of layers :math:`L`.

    Raises:
        ValueError: If :obj:`num_layers` is negative.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        check_count("num_layers", num_layers, 0)
        self.num_layers = num_layers

    def forward(
        self, user_emb: Tensor, item_emb: Tensor, data: HeteroData
    ) -> Pair:
        r"""Propagates the embeddings of users and items, in the precision of
        the graph.

        Args:
            user_emb (torch.Tensor): The user embeddings, of shape
                :obj:`[num_users, channels]`.
            item_emb (torch.Tensor): The item embeddings, of shape
                :obj:`[num_items, channels]`.
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        dtype = step_dtype(data)
        with torch.autocast(user_emb.device.type, enabled=False):
            return _MeanOfLayers.apply(
                user_emb.to(dtype),
                item_emb.to(dtype),
                data,
                self.num_layers,
                False,
            )

    def item_sums(
        self, user_emb: Tensor, item_emb: Tensor, data: HeteroData
    ) -> Tensor:
        r"""Returns the messages that users receive from their items, the sums
        of the layers below the last, :math:`\frac{1}{L + 1} \sum_{l=0}^{L-1}
        \mathbf{x}_i^{(l)}`, for :math:`L \geq 1`.

        Args:
            user_emb (torch.Tensor): As in :meth:`forward`.
            item_emb (torch.Tensor): As in :meth:`forward`.
            data (HeteroData): As in :meth:`forward`.
        """
        below = InteractionPropagation(self.num_layers - 1)
        share = self.num_layers / (self.num_layers + 1)
        return share * below(user_emb, item_emb, data)[1]

    def new_users(
        self, user_emb: Tensor, item_sums: Tensor, data: HeteroData
    ) -> Tensor:
        r"""Returns the rows that :meth:`forward` would give users that send no
        messages.

        Args:
            user_emb (torch.Tensor): Their embeddings.
            item_sums (torch.Tensor): The output of :meth:`item_sums`.
            data (HeteroData): The graph of these users alone, see
                :class:`~tmfun_pyg.transforms.AddUsers`.
        """
        received = interaction_step(data, "user", item_sums)
        return user_emb / (self.num_layers + 1) + received

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_layers={self.num_layers})"


class _MeanOfLayers(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        user_emb: Tensor,
        item_emb: Tensor,
        data: HeteroData,
        num_layers: int,
        backward: bool,
    ) -> Pair:
        ctx.args = data, num_layers, not backward
        blocks = (
            step_matrix(data, "user", backward),
            step_matrix(data, "item", backward),
        )
        return _mean_of_layers(user_emb, item_emb, blocks, num_layers)

    @staticmethod
    def backward(
        ctx: Any, user_grad: Tensor, item_grad: Tensor
    ) -> Tuple[Tensor, Tensor, None, None, None]:
        grads = _MeanOfLayers.apply(user_grad, item_grad, *ctx.args)
        return *grads, None, None, None


def _mean_of_layers(
    user: Tensor, item: Tensor, blocks: Pair, num_layers: int
) -> Pair:
    if num_layers == 0:
        return user.clone(), item.clone()
    # Two buffers per side take turns: allocating memory costs as much as
    # writing to it.
    users, items = (
        [torch.empty_like(x) for _ in range(min(num_layers, 2))]
        for x in (user, item)
    )
    user_out, item_out = user, item
    for layer in range(num_layers):
        scale = 1 / (num_layers + 1) if layer == num_layers - 1 else 1.0
        user_out, item_out = (
            torch.addmm(
                x, matrix, other, beta=scale, alpha=scale, out=out[layer % 2]
            )
            for x, matrix, other, out in (
                (user, blocks[0], item_out, users),
                (item, blocks[1], user_out, items),
            )
        )
    return user_out, item_out

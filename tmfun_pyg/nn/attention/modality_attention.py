from typing import Optional, Tuple, Union

import torch
from torch import Tensor
from torch_geometric.nn.inits import glorot, zeros
from torch_geometric.typing import OptTensor

from tmfun_pyg.nn.attention.check_query import check_query
from tmfun_pyg.utils.messages import check_count


class ModalityAttention(torch.nn.Module):
    r"""Fuses the modality representations of a node by attention, with a
    query from interaction data (our reading of the early-step fusion of
    `"Attention-guided Multi-step Fusion: A Hierarchical Fusion Network for
    Multimodal Recommendation" <https://arxiv.org/abs/2304.11979>`_):

    .. math::
        \mathbf{z}_n &= \sum_{m \in \mathcal{M}_n} \alpha_{n,m} \,
        \mathbf{h}_{n,m}

        \alpha_{n,m} &= \frac{\exp(s_{n,m})}
        {\sum_{m' \in \mathcal{M}_n} \exp(s_{n,m'})}, \qquad
        s_{n,m} = \mathbf{w}^{\top} \tanh \left( \mathbf{W}_k
        \mathbf{h}_{n,m} + \mathbf{W}_q \mathbf{q}_n + \mathbf{b} \right)

    where :math:`\mathcal{M}_n` are the modalities that node :math:`n` has.
    All modalities share :math:`\mathbf{W}_k`, so the layer takes any number
    of them, in any order.

    Args:
        channels (int): Size of each representation.
        query_channels (int, optional): Size of the query
            :math:`\mathbf{q}_n`, or :obj:`None` to score without a query.
            (default: :obj:`None`)

    Shapes:
        - **input:**
          modality representations :math:`(N, M, F)`,
          query :math:`(N, F_q)` *(optional)*,
          mask :math:`(N, M)` *(optional)*
        - **output:** fused representations :math:`(N, F)`, weights
          :math:`(N, M)` *(optional)*

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self, channels: int, query_channels: Optional[int] = None
    ) -> None:
        super().__init__()
        check_count("channels", channels)
        if query_channels is not None:
            check_count("query_channels", query_channels)
        self.channels = channels
        self.query_channels = query_channels
        self.lin_key = torch.nn.Linear(channels, channels)
        self.lin_query: Optional[torch.nn.Linear] = None
        if query_channels is not None:
            self.lin_query = torch.nn.Linear(
                query_channels, channels, bias=False
            )
        self.att = torch.nn.Parameter(torch.empty(1, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        glorot(self.lin_key.weight)
        zeros(self.lin_key.bias)
        if self.lin_query is not None:
            glorot(self.lin_query.weight)
        glorot(self.att)

    def forward(
        self,
        x: Tensor,
        query: OptTensor = None,
        mask: OptTensor = None,
        return_attention_weights: bool = False,
    ) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The modality representations
                :math:`\mathbf{h}_{n,m}`.
            query (torch.Tensor, optional): The query :math:`\mathbf{q}_n`.
                (default: :obj:`None`)
            mask (torch.Tensor, optional): :obj:`False` where a node lacks a
                modality, whose representation is then ignored. The output is
                zero for nodes without any modality. (default: :obj:`None`)
            return_attention_weights (bool, optional): If set to :obj:`True`,
                will additionally return the weights :math:`\alpha_{n,m}`,
                which sum to one over the modalities present.
                (default: :obj:`False`)

        Raises:
            ValueError: If a query is missing or given without
                :obj:`query_channels`, or if a shape does not fit.
        """
        self._check(x, query, mask)
        if mask is not None:
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        key = self.lin_key(x)
        if self.lin_query is not None:
            key = key + self.lin_query(query).unsqueeze(1)
        key = key.tanh()
        score = torch.einsum("nmc,c->nm", key, self.att[0].to(key.dtype))
        if mask is not None:
            # A finite fill keeps nodes without any modality free of NaN:
            score = score.masked_fill(~mask, torch.finfo(score.dtype).min)
        weight = score.softmax(dim=-1)
        if mask is not None:
            weight = weight.masked_fill(~mask, 0.0)
        out = (weight.unsqueeze(-1) * x).sum(dim=1)
        return (out, weight) if return_attention_weights else out

    def _check(self, x: Tensor, query: OptTensor, mask: OptTensor) -> None:
        if x.dim() != 3 or x.size(-1) != self.channels:
            raise ValueError(
                f"'x' must be of shape [num_nodes, num_modalities, "
                f"{self.channels}] (got {list(x.shape)})"
            )
        check_query(query, x.size(0), self.query_channels)
        if mask is not None and (
            mask.shape != x.shape[:2] or mask.dtype != torch.bool
        ):
            raise ValueError(
                f"'mask' must be boolean and of shape {list(x.shape[:2])} "
                f"(got {mask.dtype} and {list(mask.shape)})"
            )

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, "
            f"query_channels={self.query_channels})"
        )

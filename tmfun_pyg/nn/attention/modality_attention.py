from typing import Dict, Optional, Tuple, Union

import torch
from torch import Tensor
from torch_geometric.nn.inits import glorot, zeros

ModalityTensor = Union[Tensor, Dict[str, Tensor]]


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

    where :math:`\mathcal{M}_n` holds the modalities present at node
    :math:`n`. Each head has its own weights and fuses its own slice of the
    channels. Since all modalities share :math:`\mathbf{W}_k`, any number of
    them in any order will do.

    Args:
        channels (int): Size of each representation.
        query_channels (int, optional): Size of the query
            :math:`\mathbf{q}_n`, or :obj:`None` to score without a query.
            (default: :obj:`None`)
        heads (int, optional): The number of attention heads, a divisor of
            :obj:`channels`. (default: :obj:`1`)

    Shapes:
        - **input:**
          modality representations :math:`(N, M, F)` or :math:`M` times
          :math:`(N, F)` by name,
          query :math:`(N, F_q)` *(optional)*,
          mask :math:`(N, M)` or :math:`(N)` by name *(optional)*
        - **output:** fused representations :math:`(N, F)`, weights
          :math:`(N, M)` *(optional)*

    Raises:
        ValueError: If :obj:`channels` is no multiple of :obj:`heads`, a query
            is missing or unexpected, or a shape does not fit.
    """

    def __init__(
        self,
        channels: int,
        query_channels: Optional[int] = None,
        heads: int = 1,
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads != 0:
            raise ValueError(
                f"'channels' must be a multiple of 'heads' "
                f"(got {channels} and {heads})"
            )
        self.channels = channels
        self.query_channels = query_channels
        self.heads = heads

        self.lin_key = torch.nn.Linear(channels, channels)
        self.lin_query: Optional[torch.nn.Linear] = None
        if query_channels is not None:
            self.lin_query = torch.nn.Linear(
                query_channels, channels, bias=False
            )
        self.att = torch.nn.Parameter(torch.empty(heads, channels // heads))

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
        x: ModalityTensor,
        query: Optional[Tensor] = None,
        mask: Optional[ModalityTensor] = None,
        return_attention_weights: bool = False,
    ) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        r"""Runs the attention.

        Args:
            x (torch.Tensor or Dict[str, torch.Tensor]): The modality
                representations :math:`\mathbf{h}_{n,m}`.
            query (torch.Tensor, optional): The query :math:`\mathbf{q}_n`.
                (default: :obj:`None`)
            mask (torch.Tensor or Dict[str, torch.Tensor], optional):
                :obj:`False` where a node lacks a modality, whose
                representation is then not read. A modality that a dictionary
                leaves out is present everywhere. A node that lacks all of
                them is fused to zero. (default: :obj:`None`)
            return_attention_weights (bool, optional): If set to :obj:`True`,
                will additionally return the weights :math:`\alpha_{n,m}`,
                averaged over the heads, which sum to one over the modalities
                present. (default: :obj:`False`)
        """
        h, present = self._read(x, query, mask)
        weight = self._head_weights(h, query, present)
        value = h.view(*h.shape[:2], self.heads, -1)
        out = (weight.mT.unsqueeze(-1) * value).sum(dim=1).flatten(1)
        if return_attention_weights:
            return out, weight.mean(dim=1)
        return out

    def channel_weights(
        self,
        x: ModalityTensor,
        query: Optional[Tensor] = None,
        mask: Optional[ModalityTensor] = None,
    ) -> Tensor:
        r"""Returns what each channel of each modality is multiplied with, the
        weight :math:`\alpha_{n,m}` of its head, of shape
        :math:`(N, M, F)`: the sum over the modalities of these times
        :math:`\mathbf{h}_{n,m}` is what :meth:`forward` returns.

        Args:
            x (torch.Tensor or Dict[str, torch.Tensor]): As in
                :meth:`forward`.
            query (torch.Tensor, optional): As in :meth:`forward`.
                (default: :obj:`None`)
            mask (torch.Tensor or Dict[str, torch.Tensor], optional): As in
                :meth:`forward`. (default: :obj:`None`)
        """
        h, present = self._read(x, query, mask)
        weight = self._head_weights(h, query, present)
        return weight.mT.repeat_interleave(self.channels // self.heads, dim=2)

    def _read(
        self,
        x: ModalityTensor,
        query: Optional[Tensor],
        mask: Optional[ModalityTensor],
    ) -> Tuple[Tensor, Optional[Tensor]]:
        h, present = _stack(x, mask)
        self._check(h, query, present)
        if present is not None:
            h = h.masked_fill(~present.unsqueeze(-1), 0.0)
        return h, present

    def _head_weights(
        self, h: Tensor, query: Optional[Tensor], present: Optional[Tensor]
    ) -> Tensor:
        """Returns the weights of each head, modalities last."""
        num_nodes, num_modalities, _ = h.size()
        key = self.lin_key(h)
        if self.lin_query is not None:
            key = key + self.lin_query(query).unsqueeze(1)
        key = key.tanh().view(num_nodes, num_modalities, self.heads, -1)
        # Modalities come last, where softmax is fast:
        score = torch.einsum("nmhc,hc->nhm", key, self.att.to(key.dtype))
        if present is None:
            return score.softmax(dim=-1)
        # A finite fill keeps nodes without any modality free of NaN:
        lowest = torch.finfo(score.dtype).min
        absent = ~present.unsqueeze(1)
        weight = score.masked_fill(absent, lowest).softmax(dim=-1)
        return weight.masked_fill(absent, 0.0)

    def _check(
        self, x: Tensor, query: Optional[Tensor], mask: Optional[Tensor]
    ) -> None:
        if x.dim() != 3 or x.size(-1) != self.channels:
            raise ValueError(
                f"'x' must be of shape [num_nodes, num_modalities, "
                f"{self.channels}] (got {list(x.shape)})"
            )
        if (query is None) != (self.lin_query is None):
            raise ValueError(
                f"'query' must {'not ' if self.lin_query is None else ''}be "
                f"given (query_channels={self.query_channels})"
            )
        if query is not None and query.shape != (
            x.size(0),
            self.query_channels,
        ):
            raise ValueError(
                f"'query' must be of shape [{x.size(0)}, "
                f"{self.query_channels}] (got {list(query.shape)})"
            )
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
            f"query_channels={self.query_channels}, heads={self.heads})"
        )


def _stack(
    x: ModalityTensor, mask: Optional[ModalityTensor]
) -> Tuple[Tensor, Optional[Tensor]]:
    if isinstance(x, Tensor) and not isinstance(mask, dict):
        return x, mask
    if isinstance(x, Tensor) or isinstance(mask, Tensor):
        raise ValueError(
            "'x' and 'mask' must either both be tensors or both dictionaries"
        )
    out = torch.stack(list(x.values()), dim=1)
    if mask is None:
        return out, None
    unknown = sorted(set(mask) - set(x))
    if unknown:
        raise ValueError(
            f"'mask' names modalities {unknown}, 'x' has {sorted(x)}"
        )
    everywhere = torch.ones(out.size(0), dtype=torch.bool, device=out.device)
    masks = [mask.get(name, everywhere) for name in x]
    return out, torch.stack(masks, dim=1)

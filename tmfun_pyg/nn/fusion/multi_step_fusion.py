from numbers import Real
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.inits import glorot, reset

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.attention.check_query import check_query
from tmfun_pyg.utils.messages import check_count


class MultiStepFusion(torch.nn.Module):
    r"""Merges an ordered list of representations into a running one, step by
    step (our reading of the attention-guided multi-step fusion of
    `"Attention-guided Multi-step Fusion: A Hierarchical Fusion Network for
    Multimodal Recommendation" <https://arxiv.org/abs/2304.11979>`_):

    .. math::
        \mathbf{x}^{(t)}_n = \mathbf{x}^{(t-1)}_n + \mathbf{w}^{(t)}_n \odot
        \left( \mathbf{s}^{(t)}_n - \mathbf{x}^{(t-1)}_n \right), \qquad
        t = 1, \ldots, T

    so that each step keeps what it does not replace. Each step has its own
    parameters. With a query :math:`\mathbf{q}_n` from interaction data, the
    share :math:`\mathbf{w}^{(t)}_n \in [0, 1]` of the next source
    :math:`\mathbf{s}^{(t)}_n` is,

    * for a step of kind :obj:`"gate"`, a share for every channel:
      :math:`\sigma(\mathbf{W} \mathbf{q}_n + \mathbf{b})`,
    * for a step of kind :obj:`"attention"`, the weight that a
      :class:`~tmfun_pyg.nn.ModalityAttention` over the pair
      :math:`\mathbf{x}^{(t-1)}_n, \mathbf{s}^{(t)}_n` gives to the source.

    Args:
        channels (int): Size of each representation.
        num_steps (int): The number of steps :math:`T`, one for each source.
        kind (str, optional): The kind of the steps: :obj:`"gate"` or
            :obj:`"attention"`. (default: :obj:`"gate"`)
        query_channels (int, optional): Size of the query. If :obj:`None`,
            gates use :math:`\mathbf{x}^{(t-1)}_n` as the query, and attention
            has none. (default: :obj:`None`)
        gate_bias (float or List[float], optional): The initial bias
            :math:`\mathbf{b}` of all gates, or one per step. Large negative
            values start with nearly closed gates. Attention has no bias.
            (default: :obj:`0.0`)

    Shapes:
        - **input:**
          running representation :math:`(N, F)`,
          :math:`T` sources :math:`(N, F)`,
          query :math:`(N, F_q)` *(optional)*,
          :math:`T` masks :math:`(N)` *(optional)*
        - **output:** the representation after the last step :math:`(N, F)`,
          :math:`T` shares :math:`(N, F)` *(optional)*

    Raises:
        ValueError: If a size is not positive, :obj:`num_steps` is negative,
            the kind is unknown, or a list does not have one entry for each
            step.
    """

    def __init__(
        self,
        channels: int,
        num_steps: int,
        kind: str = "gate",
        query_channels: Optional[int] = None,
        gate_bias: Union[float, Sequence[float]] = 0.0,
    ) -> None:
        super().__init__()
        check_count("channels", channels)
        check_count("num_steps", num_steps, 0)
        if query_channels is not None:
            check_count("query_channels", query_channels)
        if kind not in ("gate", "attention"):
            raise ValueError(
                f"'kind' must be 'gate' or 'attention' (got {kind!r})"
            )
        given: Any = gate_bias
        if isinstance(given, Real):
            given = [given] * num_steps
        biases = [float(bias) for bias in given]
        _check_length("gate_bias", len(biases), num_steps)

        self.channels = channels
        self.num_steps = num_steps
        self.kind = kind
        self.query_channels = query_channels
        self.gate_biases = biases
        self.steps = torch.nn.ModuleList(
            torch.nn.Linear(query_channels or channels, channels)
            if kind == "gate"
            else ModalityAttention(channels, query_channels)
            for _ in range(num_steps)
        )

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for step, bias in zip(self.steps, self.gate_biases, strict=True):
            if isinstance(step, torch.nn.Linear):
                glorot(step.weight)
                torch.nn.init.constant_(step.bias, bias)
            else:
                reset(step)

    def forward(
        self,
        x: Tensor,
        sources: Sequence[Tensor],
        query: Optional[Tensor] = None,
        masks: Optional[Sequence[Optional[Tensor]]] = None,
        return_shares: bool = False,
    ) -> Union[Tensor, Tuple[Tensor, List[Tensor]]]:
        r"""Runs the steps in order.

        Args:
            x (torch.Tensor): The running representation
                :math:`\mathbf{x}^{(0)}`.
            sources (List[torch.Tensor]): The representations to merge.
            query (torch.Tensor, optional): The query :math:`\mathbf{q}_n`,
                required if :obj:`query_channels` was given.
                (default: :obj:`None`)
            masks (List[torch.Tensor], optional): For each source, :obj:`None`
                or :obj:`False` where a node lacks it; the step then leaves the
                node unchanged. (default: :obj:`None`)
            return_shares (bool, optional): If set to :obj:`True`, will
                additionally return the share :math:`\mathbf{w}^{(t)}_n` of
                each step, zero where a node lacks the source.
                (default: :obj:`False`)

        Raises:
            ValueError: If there is not one source and mask for each step,
                :obj:`query` is missing or unexpected, or a shape or the type
                of a mask does not fit.
        """
        if masks is None:
            masks = [None] * self.num_steps
        self._check(x, sources, query, masks)
        gates = self._gates_of_query(query)
        shares: List[Tensor] = []
        for step, source, mask in zip(self.steps, sources, masks, strict=True):
            if mask is not None:  # Merged with itself, a node is unchanged.
                source = source.where(mask.view(-1, 1), x)
            if isinstance(step, ModalityAttention):
                pair = torch.stack([x, source], dim=1)
                x, weight = step(pair, query, return_attention_weights=True)
                share = weight[:, 1:].expand_as(x)
            else:
                share = next(gates) if gates else step(x).sigmoid()
                x = torch.lerp(x, source, share.to(x.dtype))
            if return_shares:
                if mask is not None:
                    share = share * mask.view(-1, 1)
                shares.append(share)
        if return_shares:
            return x, shares
        return x

    def _check(
        self,
        x: Tensor,
        sources: Sequence[Tensor],
        query: Optional[Tensor],
        masks: Sequence[Optional[Tensor]],
    ) -> None:
        _check_length("sources", len(sources), self.num_steps)
        _check_length("masks", len(masks), self.num_steps)
        if x.dim() != 2 or x.size(1) != self.channels:
            raise ValueError(
                f"'x' must be of shape [num_nodes, {self.channels}] (got "
                f"{list(x.shape)})"
            )
        for source in sources:
            if source.shape != x.shape:
                raise ValueError(
                    f"'sources' must be of the shape of 'x', {list(x.shape)} "
                    f"(got {list(source.shape)})"
                )
        for mask in masks:
            if mask is not None and (
                mask.shape != x.shape[:1] or mask.dtype != torch.bool
            ):
                raise ValueError(
                    f"'masks' must be boolean and of shape [{x.size(0)}] "
                    f"(got {mask.dtype} and {list(mask.shape)})"
                )
        check_query(query, x.size(0), self.query_channels)

    def _gates_of_query(
        self, query: Optional[Tensor]
    ) -> Optional[Iterator[Tensor]]:
        """Computes the shares of all gates from the query in one product."""
        gates = [s for s in self.steps if isinstance(s, torch.nn.Linear)]
        if query is None or len(gates) == 0:
            return None
        weight = torch.cat([gate.weight for gate in gates])
        bias = torch.cat([gate.bias for gate in gates])
        shares = F.linear(query, weight, bias).sigmoid()
        return iter(shares.split(self.channels, dim=1))

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, "
            f"num_steps={self.num_steps}, kind={self.kind!r})"
        )


def _check_length(name: str, found: int, num_steps: int) -> None:
    if found != num_steps:
        raise ValueError(
            f"'{name}' must have one entry for each of the {num_steps} steps "
            f"(got {found})"
        )

from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.typing import OptTensor

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.fusion.multi_step_fusion import MultiStepFusion
from tmfun_pyg.utils.messages import check_count

# The item feature graph passes IDs on ungated: its gate starts nearly closed.
ITEM_GRAPH_BIAS = -2.0


class ContentFusion(torch.nn.Module):
    r"""The whole fusion of TMFUN: the early step over the modalities, then
    the later steps over each modality and the item feature graph (our
    reading of `"Attention-guided Multi-step Fusion: A Hierarchical Fusion
    Network for Multimodal Recommendation"
    <https://arxiv.org/abs/2304.11979>`_):

    .. math::
        \mathbf{z}^{(0)} &= \mathrm{ModalityAttention}
        (\mathbf{h}_1, \ldots, \mathbf{h}_{M};\ \mathbf{q})

        \mathbf{z} &= w \cdot \mathrm{MultiStepFusion}
        (\mathbf{z}^{(0)};\ \mathbf{h}_1, \ldots, \mathbf{h}_{M}, \mathbf{h};\
        \mathbf{q})

    Args:
        channels (int): Size of each representation and of the query.
        num_modalities (int): The number of modalities :math:`M`.
        weight (float, optional): The weight :math:`w` of the result.
            (default: :obj:`1.0`)
        step_kind (str, optional): The kind of the later steps,
            :obj:`"gate"` or :obj:`"attention"`. (default: :obj:`"gate"`)
        item_graph (bool, optional): If set to :obj:`False`, there is no
            source :math:`\mathbf{h}` after the modalities.
            (default: :obj:`True`)
        attention (bool, optional): If set to :obj:`False`, the early step is
            the mean over the modalities present. (default: :obj:`True`)
        later_steps (bool, optional): If set to :obj:`False`, there are no
            steps after the early one. (default: :obj:`True`)

    Shapes:
        - **input:**
          sources, :math:`(N, F)` each, modalities first,
          query :math:`(N, F)`,
          mask :math:`(N, S)` with at least as many columns as sources
          *(optional)*
        - **output:** fused representations :math:`(N, F)`, weights of the
          modalities in the early step :math:`(N, M)`

    Raises:
        ValueError: If a size is not positive, or the kind is unknown.
    """

    def __init__(
        self,
        channels: int,
        num_modalities: int,
        weight: float = 1.0,
        step_kind: str = "gate",
        item_graph: bool = True,
        attention: bool = True,
        later_steps: bool = True,
    ) -> None:
        super().__init__()
        check_count("num_modalities", num_modalities)
        self.num_modalities = num_modalities
        self.weight = weight
        self.attention = (
            ModalityAttention(channels, channels) if attention else None
        )
        biases = [0.0] * num_modalities if later_steps else []
        if item_graph and later_steps:
            biases.append(ITEM_GRAPH_BIAS)
        self.later_steps = MultiStepFusion(
            channels, len(biases), step_kind, channels, gate_bias=biases
        )

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if self.attention is not None:
            self.attention.reset_parameters()
        self.later_steps.reset_parameters()

    def forward(
        self, sources: Sequence[Tensor], query: Tensor, mask: OptTensor = None
    ) -> Tuple[Tensor, Tensor]:
        r"""Fuses the sources of each node.

        Args:
            sources (List[torch.Tensor]): The representations of the nodes.
            query (torch.Tensor): The query of each node.
            mask (torch.Tensor, optional): :obj:`False` where a node lacks a
                source. (default: :obj:`None`)
        """
        out, weight = self._early_step(sources, query, mask)
        if self.later_steps.num_steps > 0:
            masks = _unbind(mask, len(sources))
            out = self.later_steps(out, sources, query, masks)
        return self.weight * out, weight

    @torch.no_grad()
    def source_weights(
        self, sources: Sequence[Tensor], query: Tensor, mask: OptTensor = None
    ) -> Tensor:
        r"""Returns the total weight that :meth:`forward` gives to each channel
        of each source, of shape :math:`(N, S, F)`: the fused representation is
        the sum of the sources times these weights.

        Args:
            sources (List[torch.Tensor]): As in :meth:`forward`.
            query (torch.Tensor): As in :meth:`forward`.
            mask (torch.Tensor, optional): As in :meth:`forward`.
                (default: :obj:`None`)
        """
        early, weight = self._early_step(sources, query, mask)
        out = F.pad(weight, (0, len(sources) - self.num_modalities))
        out = out.unsqueeze(-1).repeat(1, 1, query.size(1))
        if self.later_steps.num_steps > 0:
            masks = _unbind(mask, len(sources))
            _, shares = self.later_steps(
                early, sources, query, masks, return_shares=True
            )
            for step, share in enumerate(shares):
                out = out * (1 - share).unsqueeze(1)
                out[:, step] += share
        return self.weight * out

    def _early_step(
        self, sources: Sequence[Tensor], query: Tensor, mask: OptTensor
    ) -> Tuple[Tensor, Tensor]:
        """Fuses the modalities, and returns their weights."""
        x = torch.stack(list(sources[: self.num_modalities]), dim=1)
        if mask is not None:
            mask = mask[:, : self.num_modalities]
        if self.attention is not None:
            return self.attention(x, query, mask, True)
        if mask is None:
            mask = x.new_ones(x.shape[:2])
        else:  # Absent rows may hold NaN and must not be read.
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        weight = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return (weight.unsqueeze(-1) * x).sum(dim=1), weight


def _unbind(mask: OptTensor, num_sources: int) -> Optional[List[Tensor]]:
    return None if mask is None else list(mask.unbind(dim=1))[:num_sources]

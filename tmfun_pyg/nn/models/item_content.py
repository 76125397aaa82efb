from typing import Dict, List

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset, zeros
from torch_geometric.nn.module_dict import ModuleDict

from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.models.similar import similar
from tmfun_pyg.utils.schema import similar_source


class ItemContent(torch.nn.Module):
    r"""The item representations that TMFUN fuses: ID embeddings gated by
    content and propagated over each modality feature graph, and ungated ones
    propagated over the item feature graph, a convex combination of these
    graphs (our reading of `"Attention-guided Multi-step Fusion: A Hierarchical
    Fusion Network for Multimodal Recommendation"
    <https://arxiv.org/abs/2304.11979>`_):

    .. math::
        \mathbf{H}_m &= \mathbf{S}_m \left( \mathbf{E}_{\mathcal{I}} \odot
        \sigma(\mathrm{MLP}_m(\mathbf{X}_m)) \right)

        \mathbf{H} &= \sum_m \boldsymbol{\beta}_m \, \mathbf{S}_m
        \mathbf{E}_{\mathcal{I}}

    :math:`\boldsymbol{\beta}` is a softmax of learned logits over the
    modalities of an item.

    Args:
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int): Size of the embeddings.
        modality_graphs (bool, optional): If set to :obj:`False`, the gated
            embeddings are not propagated. (default: :obj:`True`)
        item_graph (bool, optional): If set to :obj:`False`, the item feature
            graph is left out. (default: :obj:`True`)
    """

    def __init__(
        self,
        in_channels: Dict[str, int],
        channels: int,
        modality_graphs: bool = True,
        item_graph: bool = True,
    ) -> None:
        super().__init__()
        self.modality_graphs = modality_graphs
        self.item_graph = item_graph
        self.convs = ModuleDict(
            {
                name: FeatureGraphConv(channels, size)
                for name, size in in_channels.items()
            }
        )
        if item_graph:
            self.item_conv = FeatureGraphConv(channels)
            self.graph_logit = torch.nn.Parameter(torch.zeros(len(in_channels)))

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        reset(self.convs)
        if self.item_graph:
            zeros(self.graph_logit)

    def forward(
        self, data: HeteroData, item_id: Tensor, source_id: Tensor
    ) -> List[Tensor]:
        r"""Returns :math:`\mathbf{H}_m` for each modality and
        :math:`\mathbf{H}`.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
            item_id (torch.Tensor): The ID embeddings of the items.
            source_id (torch.Tensor): Those of the sources of the feature
                graphs, the items themselves except in a sampled batch.
        """
        source = data[similar_source(data)]
        pair = (source_id, None)
        out: List[Tensor] = []
        for name, conv in self.convs.items():
            if self.modality_graphs:
                feat = source[f"x_{name}"]
                out.append(conv(pair, *similar(data, name), feat=feat))
            else:
                assert isinstance(conv, FeatureGraphConv)
                feat = data["item"][f"x_{name}"]
                out.append(conv.apply_gate(item_id, feat))
        if self.item_graph:
            beta = self._graph_weights(data["item"].mask[:, :-1])
            weighted = [
                self.item_conv(pair, *similar(data, name)) * weight
                for name, weight in zip(
                    self.convs.keys(), beta.split(1, dim=1), strict=True
                )
            ]
            out.append(sum(weighted[1:], weighted[0]))
        return out

    def _graph_weights(self, mask: Tensor) -> Tensor:
        """Returns the weights of the feature graphs for each item."""
        logit = self.graph_logit.expand_as(mask)
        lowest = torch.finfo(logit.dtype).min
        return logit.masked_fill(~mask, lowest).softmax(dim=1)

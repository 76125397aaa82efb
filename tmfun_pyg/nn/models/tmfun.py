from typing import Any, Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset, zeros

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.fusion import MultiStepFusion
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.csr_matrix import CSRMatrix
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.recommender import Recommender, bpr_loss, l2_loss


class Branches(NamedTuple):
    r"""The representations that TMFUN makes of all users, then all items.

    Args:
        collaborative (torch.Tensor): From interactions alone, of shape
            :obj:`[num_users + num_items, channels]`.
        content (torch.Tensor): Fused from content, of the same shape.
        weight (torch.Tensor): The weights of the modalities in the early-step
            fusion, of shape :obj:`[num_users + num_items, num_modalities]`.
    """

    collaborative: Tensor
    content: Tensor
    weight: Tensor


class TMFUN(Recommender):
    r"""The attention-guided multi-step fusion network for multimodal
    recommendation, from `"Attention-guided Multi-step Fusion: A Hierarchical
    Fusion Network for Multimodal Recommendation"
    <https://arxiv.org/abs/2304.11979>`_.

    The abstract fixes the components; the equations are our reading. With ID
    embeddings :math:`\mathbf{E}`, item features :math:`\mathbf{X}_m` of
    modality :math:`m \in \mathcal{M}`, the normalized user-item graph
    :math:`\mathbf{A}`, the modality feature graphs :math:`\mathbf{S}_m` and
    the operator :math:`\mathbf{R}` that averages over the items of a user:

    .. math::
        \mathbf{X}^c &= \frac{1}{L + 1} \sum_{l=0}^{L} \mathbf{A}^l \mathbf{E}
        && \textrm{(collaborative branch)}

        \mathbf{H}_m &= \mathbf{S}_m \left( \mathbf{E}_{\mathcal{I}} \odot
        \sigma(\mathrm{MLP}_m(\mathbf{X}_m)) \right)
        && \textrm{(behavior gate, modality feature graph)}

        \mathbf{H} &= \sum_m \boldsymbol{\beta}_m \, \mathbf{S}_m
        \mathbf{E}_{\mathcal{I}}
        && \textrm{(item feature graph)}

        \mathbf{Z}^{(0)} &= \mathrm{ModalityAttention}
        (\mathbf{H}_1, \ldots, \mathbf{H}_{|\mathcal{M}|};\ \mathbf{X}^c)
        && \textrm{(early step)}

        \mathbf{Z} &= w \cdot \mathrm{MultiStepFusion}
        (\mathbf{Z}^{(0)};\ \mathbf{H}_1, \ldots, \mathbf{H}_{|\mathcal{M}|},
        \mathbf{H};\ \mathbf{X}^c)
        && \textrm{(later steps)}

        \mathbf{X} &= \mathbf{X}^c + \mathbf{Z}

    where the user rows of :math:`\mathbf{H}_m` and :math:`\mathbf{H}` are
    :math:`\mathbf{R}` times their item rows, features are brought to zero
    mean and unit variance item by item, and :math:`\boldsymbol{\beta}` is a
    softmax of learnable logits over the modalities an item has.

    The loss is :math:`\textrm{BPR} + \lambda \cdot
    \textrm{InfoNCE}(\mathbf{Z}, \mathbf{X}^c) + \lambda_r L_2`, with the
    contrast between the users and between the positive items of a batch. The
    gradient of InfoNCE grows as the embeddings shrink, that of BPR shrinks
    with them, so that a constant weight would let contrast take over where
    embeddings are small. Its weight is therefore

    .. math::
        \lambda = \min(\lambda_c, \ \lambda_{\max} \, s), \qquad
        s = \frac{1}{B} \sum_{n=1}^{B} \lVert \mathbf{z}_n \rVert
        \lVert \mathbf{x}^c_n \rVert

    (:math:`s` taken as a constant): the ratio of both gradients is the same
    at any small scale, and falls once the embeddings have grown.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` of the
            collaborative branch. (default: :obj:`4`)
        num_feature_layers (int, optional): The number of propagation steps
            over the feature graphs. (default: :obj:`1`)
        heads (int, optional): The number of attention heads.
            (default: :obj:`1`)
        step_kind (str, optional): The kind of the later steps,
            :obj:`"gate"` or :obj:`"attention"`. (default: :obj:`"gate"`)
        content_weight (float, optional): The weight :math:`w` of content.
            (default: :obj:`1 / 3`)
        contrastive_weight (float, optional): The weight :math:`\lambda_c` of
            the contrastive loss. (default: :obj:`0.01`)
        max_contrast (float, optional): The weight :math:`\lambda_{\max}` of
            the contrastive loss relative to the scale :math:`s` of
            the embeddings. (default: :obj:`50.0`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.2`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term on the ID embeddings of a batch. (default: :obj:`1e-4`)
        modality_graphs (bool, optional): If set to :obj:`False`, the gated
            embeddings are not propagated over the modality feature graphs.
            (default: :obj:`True`)
        item_graph (bool, optional): If set to :obj:`False`, the step that
            merges the item feature graph is left out. (default: :obj:`True`)
        attention (bool, optional): If set to :obj:`False`, the early step is
            the mean over the modalities present. (default: :obj:`True`)
        later_steps (bool, optional): If set to :obj:`False`,
            :math:`\mathbf{Z} = w \, \mathbf{Z}^{(0)}`.
            (default: :obj:`True`)
        contrastive (bool, optional): If set to :obj:`False`, the contrastive
            loss is left out. (default: :obj:`True`)

    Raises:
        ValueError: If a size or an option is out of range, or there is no
            modality.
    """

    mask: Tensor
    user_scale: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 4,
        num_feature_layers: int = 1,
        heads: int = 1,
        step_kind: str = "gate",
        content_weight: float = 1 / 3,
        contrastive_weight: float = 0.01,
        max_contrast: float = 50.0,
        temperature: float = 0.2,
        reg_weight: float = 1e-4,
        modality_graphs: bool = True,
        item_graph: bool = True,
        attention: bool = True,
        later_steps: bool = True,
        contrastive: bool = True,
    ) -> None:
        super().__init__(num_users, num_items)
        if len(in_channels) == 0:
            raise ValueError(
                "'in_channels' names no modality: TMFUN needs at least one"
            )
        self.in_channels = dict(in_channels)
        self.modalities = list(in_channels)
        self.channels = channels
        self.content_weight = content_weight
        self.contrastive_weight = contrastive_weight if contrastive else 0.0
        self.max_contrast = max_contrast
        self.temperature = temperature
        self.reg_weight = reg_weight
        self.modality_graphs = modality_graphs
        self.item_graph = item_graph and later_steps

        self.user_embedding = torch.nn.Embedding(num_users, channels)
        self.item_embedding = torch.nn.Embedding(num_items, channels)
        self.propagation = InteractionPropagation(num_layers)
        self.feature_conv = FeatureGraphConv(num_feature_layers)
        self.feature_graphs = torch.nn.ModuleDict()
        self.behavior_gates = torch.nn.ModuleDict(
            {
                name: torch.nn.Sequential(
                    torch.nn.Linear(size, channels),
                    torch.nn.LeakyReLU(),
                    torch.nn.Linear(channels, channels),
                )
                for name, size in in_channels.items()
            }
        )
        self.attention = (
            ModalityAttention(channels, channels, heads) if attention else None
        )
        biases = [0.0] * len(in_channels) if later_steps else []
        if self.item_graph:
            # It passes IDs on ungated, so that its gate begins nearly closed:
            biases.append(-2.0)
        self.later_steps = MultiStepFusion(
            channels, len(biases), step_kind, channels, heads, biases
        )
        if self.item_graph:
            self.graph_logit = torch.nn.Parameter(
                torch.empty(len(in_channels))
            )

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        torch.nn.init.xavier_uniform_(self.user_embedding.weight)
        torch.nn.init.xavier_uniform_(self.item_embedding.weight)
        for gate in self.behavior_gates.values():
            reset(gate)
        if self.attention is not None:
            self.attention.reset_parameters()
        self.later_steps.reset_parameters()
        if self.item_graph:
            zeros(self.graph_logit)

    @classmethod
    def from_data(cls, data: HeteroData, **kwargs: Any) -> "TMFUN":
        r"""Builds the model for a data set and binds it.

        Args:
            data (HeteroData): Users, items, their interactions, the features
                :obj:`data["item"].x_<modality>` and the graphs that
                :class:`tmfun_pyg.transforms.FeatureGraph` adds.
            **kwargs (optional): Options of the constructor.
        """
        item = data["item"].to_dict()
        in_channels = {
            name[2:]: x.size(1)
            for name, x in item.items()
            if name.startswith("x_")
        }
        return super().from_data(data, in_channels=in_channels, **kwargs)

    def bind(self, data: HeteroData) -> "TMFUN":
        r"""Attaches the interactions, features and feature graphs of a data
        set.

        Args:
            data (HeteroData): As in :meth:`from_data`.

        Raises:
            ValueError: If something is missing or does not have the sizes of
                the model.
        """
        super().bind(data)
        user, item = edge_index = data["user", "interacts", "item"].edge_index
        self.propagation.bind(edge_index, self.num_users, self.num_items)

        masks = [self._bind_modality(data, name) for name in self.modalities]
        # The last column is for the item feature graph, of any modality:
        masks.append(torch.stack(masks).any(dim=0))
        item_mask = torch.stack(masks, dim=1)

        size = (self.num_users, self.num_items)
        ones = torch.ones(user.numel(), device=user.device)
        self.user_items = CSRMatrix(user, item, ones, size)
        count = self.user_items(item_mask.float())
        user_scale = count.clamp(min=1).reciprocal()
        self.register_buffer("user_scale", user_scale, persistent=False)
        mask = torch.cat([count > 0, item_mask])
        self.register_buffer("mask", mask, persistent=False)
        return self

    def _bind_modality(self, data: HeteroData, name: str) -> Tensor:
        """Attaches features and graph, returns which items have them."""
        x = data["item"].get(f"x_{name}")
        shape = [self.num_items, self.in_channels[name]]
        if x is None or list(x.shape) != shape:
            raise ValueError(
                f"data['item'].x_{name} must be of shape {shape} "
                f"(got {None if x is None else list(x.shape)})"
            )
        mask = data["item"].get(f"mask_{name}")
        if mask is None:
            mask = torch.ones(
                self.num_items, dtype=torch.bool, device=x.device
            )
        # Features differ in scale by orders of magnitude between encoders.
        # Item by item, so that an item seen later is treated the same:
        x = F.layer_norm(x.float(), x.shape[1:]) * mask.view(-1, 1)
        self.register_buffer(f"x_{name}", x, persistent=False)

        if not (self.modality_graphs or self.item_graph):
            return mask
        edge_type = ("item", f"similar_{name}", "item")
        if edge_type not in data.edge_types:
            raise ValueError(
                f"The data set has no edges {edge_type}: apply "
                f"tmfun_pyg.transforms.FeatureGraph() to it first"
            )
        src, dst = data[edge_type].edge_index
        weight = data[edge_type].get("edge_weight")
        if weight is None:
            weight = torch.ones(src.numel(), device=src.device)
        size = (self.num_items, self.num_items)
        self.feature_graphs[name] = CSRMatrix(dst, src, weight, size)
        return mask

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users and of all items."""
        branches = self.encode()
        return self._split(branches.collaborative + branches.content)

    def encode(self) -> Branches:
        r"""Computes the representations of all users and items."""
        item_emb = self.item_embedding.weight
        collaborative = torch.cat(
            self.propagation(self.user_embedding.weight, item_emb)
        )
        modality, sources = self._propagate_content(item_emb)
        mask = self.mask[:, : len(self.modalities)]
        content, weight = self._fuse_early(modality, collaborative, mask)
        if self.later_steps.num_steps > 0:
            masks = list(self.mask.unbind(dim=1))[: len(sources)]
            content = self.later_steps(content, sources, collaborative, masks)
        content = self.content_weight * content
        return Branches(collaborative, content, weight)

    def _propagate_content(
        self, item_emb: Tensor
    ) -> Tuple[Tensor, List[Tensor]]:
        """Returns the modality representations of all nodes, and the sources
        of the later steps.
        """
        gated, plain = [], []
        for name in self.modalities:
            x = getattr(self, f"x_{name}")
            h = item_emb * self.behavior_gates[name](x).sigmoid()
            # One product over the graph serves both branches:
            todo = [h] * self.modality_graphs + [item_emb] * self.item_graph
            done: List[Tensor] = []
            if len(todo) > 0:
                graph = self.feature_graphs[name]
                out = self.feature_conv(
                    torch.cat(todo, dim=1), graph.adj_t, adj=graph.adj
                )
                done = list(out.split(self.channels, dim=1))
            if self.item_graph:
                plain.append(done.pop())
            gated.append(done.pop() if done else h)

        num_modalities = len(self.modalities)
        item_mask = self.mask[self.num_users :]
        items = torch.stack(gated, dim=1)
        if self.item_graph:
            present = item_mask[:, :num_modalities]
            beta = self._graph_weights(present)
            mixed = (beta.unsqueeze(-1) * torch.stack(plain, dim=1)).sum(dim=1)
            items = torch.cat([items, mixed.unsqueeze(1)], dim=1)
        items = items * item_mask[:, : items.size(1)].unsqueeze(-1)

        # What a user's items have in common, the mean of those with content:
        users = self.user_items(items.flatten(1)).view(
            self.num_users, -1, self.channels
        )
        users = users * self.user_scale[:, : users.size(1)].unsqueeze(-1)
        out = torch.cat([users, items])
        return out[:, :num_modalities], list(out.unbind(dim=1))

    def _graph_weights(self, present: Tensor) -> Tensor:
        """Returns the weights of the feature graphs for each item."""
        logit = self.graph_logit.expand_as(present)
        lowest = torch.finfo(logit.dtype).min
        return logit.masked_fill(~present, lowest).softmax(dim=1)

    def _fuse_early(
        self, modality: Tensor, query: Tensor, mask: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Returns the fused representations and the weights."""
        if self.attention is not None:
            return self.attention(
                modality, query, mask, return_attention_weights=True
            )
        weight = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return (weight.unsqueeze(-1) * modality).sum(dim=1), weight

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss, the contrastive loss and the L2 term."""
        branches = self.encode()
        user_emb, item_emb = self._split(
            branches.collaborative + branches.content
        )
        parts = {
            "bpr": bpr_loss(user_emb, item_emb, user, pos_item, neg_item),
            "reg": self.reg_weight
            * l2_loss(
                self.user_embedding(user),
                self.item_embedding(pos_item),
                self.item_embedding(neg_item),
            ),
        }
        if self.contrastive_weight > 0:
            parts["contrastive"] = self._contrast(
                branches, user
            ) + self._contrast(branches, pos_item + self.num_users)
        return parts

    def _contrast(self, branches: Branches, node: Tensor) -> Tensor:
        """Contrasts the two branches over the nodes of a batch."""
        x, y = branches.content[node], branches.collaborative[node]
        loss = info_nce(x, y, self.temperature, node, self.mask[node, -1])
        weight = self.max_contrast * _scale(x, y)
        return weight.clamp(max=self.contrastive_weight) * loss

    def item_modality_weights(self) -> Tensor:
        r"""Returns the weight of each modality in the early-step fusion of
        each item, of shape :obj:`[num_items, num_modalities]`, in the order of
        :obj:`modalities`. An item without any has weights of zero.
        """
        return self._split(self.encode().weight)[1]

    def pair_modality_weights(self, user: Tensor, item: Tensor) -> Tensor:
        r"""Returns the weight of each modality for pairs of user and item:
        the attention of both, multiplied and brought to a sum of one. If they
        have no modality in common, the weights are zero.

        Args:
            user (torch.Tensor): The users, of shape :obj:`[num_pairs]`.
            item (torch.Tensor): The items, of shape :obj:`[num_pairs]`.

        Returns:
            The weights, of shape :obj:`[num_pairs, num_modalities]`, in the
            order of :obj:`modalities`.
        """
        of_user, of_item = self._split(self.encode().weight)
        weight = of_user[user] * of_item[item]
        total = weight.sum(dim=1, keepdim=True)
        return weight / total.clamp(min=torch.finfo(weight.dtype).tiny)

    def _split(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        users, items = x.split([self.num_users, self.num_items])
        return users, items

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.num_users}, {self.num_items}, "
            f"modalities={self.modalities}, channels={self.channels}, "
            f"num_layers={self.propagation.num_layers})"
        )


@torch.no_grad()
def _scale(x: Tensor, y: Tensor) -> Tensor:
    """Returns the mean product of lengths."""
    return (x.norm(dim=1) * y.norm(dim=1)).mean()

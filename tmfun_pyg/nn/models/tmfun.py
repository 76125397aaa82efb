from typing import (
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import reset, zeros

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.distributed import gather_rows, own_rows
from tmfun_pyg.nn.fusion import MultiStepFusion
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models.embedding_recommender import TableFactory
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.interaction_graph import InteractionGraph
from tmfun_pyg.nn.models.interaction_propagation import InteractionPropagation
from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph, feature_sizes
from tmfun_pyg.nn.models.new_items import NewItems
from tmfun_pyg.nn.models.ranking_model import bpr_loss
from tmfun_pyg.nn.models.sampled_recommender import SampledRecommender

ModelType = TypeVar("ModelType", bound="TMFUN")


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


class TMFUN(SampledRecommender):
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

    A new item, without a training interaction, has no ID embedding
    (:math:`\mathbf{e}_i = 0`), so no collaborative representation. Its content
    comes from the items that it resembles, as for any item. :meth:`forward`
    estimates what it lacks by ridge regression of :math:`\mathbf{X}^c` on
    content over the items that are not new, and joins the score from that with
    a second one, of profiles :math:`\mathbf{v}` of users and items learned
    from which items are chosen together (see
    :class:`~tmfun_pyg.nn.models.new_items.NewItems`):

    .. math::
        \hat{y}_{ui} = \frac{1}{2} \left( \mathbf{x}_u^{\top}
        (\hat{\mathbf{x}}^c_i + \mathbf{z}_i) + s \, \mathbf{v}_u^{\top}
        \mathbf{v}_i \right)

    All else is learned as if there were no new items.

    The loss is :math:`\textrm{BPR} + \mathcal{L}_c + \mathcal{L}_p +
    \lambda_r L_2`. The
    contrastive terms are formed over the interactions :math:`(u_n, i_n)` of a
    batch, or as much of it as :obj:`contrast_size` says. The first brings
    content and interactions of each user and each item together, with weight
    :math:`\lambda`, the second users and items of theirs, with weight
    :math:`\lambda_p`:

    .. math::
        \mathcal{L}_c &= \lambda \, (
        \textrm{InfoNCE}(\mathbf{Z}_u, \mathbf{X}^c_u) +
        \textrm{InfoNCE}(\mathbf{Z}_i, \mathbf{X}^c_i) )

        \mathcal{L}_p &= \lambda_p \,
        \textrm{InfoNCE}(\mathbf{X}_u, \mathbf{X}_i)

    where pairs that share the user or the item are no negatives of each
    other. The gradient of InfoNCE grows as the embeddings shrink, that of BPR
    shrinks with them, so that a constant weight would let contrast take over
    where embeddings are small. The weight of each is therefore

    .. math::
        \lambda = \min(\lambda_c, \ \lambda_{\max} \, s), \qquad
        s = \frac{1}{B} \sum_{n=1}^{B} \lVert \mathbf{z}_n \rVert
        \lVert \mathbf{x}^c_n \rVert

    and likewise for :math:`\lambda_p` (:math:`s` taken as a constant): the
    ratio to the gradient of BPR is the same at any small scale, and falls
    once the embeddings have grown.

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
            the contrast within users and items. (default: :obj:`0.01`)
        pair_weight (float, optional): The weight :math:`\lambda_p` of the
            contrast between users and their items. (default: :obj:`0.01`)
        max_contrast (float, optional): The weight :math:`\lambda_{\max}` of
            the contrastive loss relative to the scale :math:`s` of
            the embeddings. (default: :obj:`50.0`)
        temperature (float, optional): The temperature of the contrastive
            loss. (default: :obj:`0.2`)
        contrast_size (int, optional): At most how many interactions of a
            batch have their users and items contrasted, all of them if
            :obj:`None`. The cost grows with the square.
            (default: :obj:`1024`)
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
        contrastive (bool, optional): If set to :obj:`False`, both contrastive
            losses are left out. (default: :obj:`True`)
        table (Callable, optional): What makes the tables of ID embeddings,
            see :class:`~tmfun_pyg.nn.EmbeddingTable`.
            (default: :class:`~tmfun_pyg.nn.EmbeddingTable`)

    Raises:
        ValueError: If a size or an option is out of range, or there is no
            modality.
    """

    graph: MultimodalGraph
    scores_new_items = True

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
        pair_weight: float = 0.01,
        max_contrast: float = 50.0,
        temperature: float = 0.2,
        contrast_size: Optional[int] = 1024,
        reg_weight: float = 1e-4,
        modality_graphs: bool = True,
        item_graph: bool = True,
        attention: bool = True,
        later_steps: bool = True,
        contrastive: bool = True,
        table: TableFactory = EmbeddingTable,
    ) -> None:
        super().__init__(
            num_users, num_items, channels, num_layers, reg_weight, table
        )
        if len(in_channels) == 0:
            raise ValueError(
                "'in_channels' names no modality: TMFUN needs at least one"
            )
        if contrast_size is not None and contrast_size < 1:
            raise ValueError(
                f"'contrast_size' must be positive (got {contrast_size})"
            )
        self.in_channels = dict(in_channels)
        self.modalities = list(in_channels)
        self.content_weight = content_weight
        self.contrastive_weight = contrastive_weight if contrastive else 0.0
        self.pair_weight = pair_weight if contrastive else 0.0
        self.max_contrast = max_contrast
        self.temperature = temperature
        self.contrast_size = contrast_size
        self.modality_graphs = modality_graphs
        self.item_graph = item_graph and later_steps

        self.propagation = InteractionPropagation(num_layers)
        self.feature_conv = FeatureGraphConv(num_feature_layers)
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
        #: The estimates of new items, if there are any.
        self.new_items: Optional[NewItems] = None
        if self.item_graph:
            self.graph_logit = torch.nn.Parameter(
                torch.empty(len(in_channels))
            )

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
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
        in_channels = feature_sizes(data)
        return super().from_data(data, in_channels=in_channels, **kwargs)

    def bind(self: ModelType, data: HeteroData) -> ModelType:
        r"""Attaches a data set, in place of what was bound before, and learns
        the profiles of new items from it if there are any.

        Args:
            data (HeteroData): As in :meth:`from_data`, on the device of the
                model.
        """
        super().bind(data)
        self.new_items = None
        if self.graph.has_new:
            self.new_items = NewItems(
                self.graph, self.modalities, self.channels
            )
        return self

    def make_graph(self, data: HeteroData) -> MultimodalGraph:
        r"""Brings interactions, features and feature graphs into the form that
        the model reads.

        Args:
            data (HeteroData): As in :meth:`from_data`, or a batch of
                :class:`tmfun_pyg.loader.SampledInteractionDataset`.

        Raises:
            ValueError: If something is missing or does not have the sizes of
                the model, or if a sample would need several propagation steps
                over feature graphs.
        """
        num_steps = self.feature_conv.num_layers
        if "n_id" in data["item"] and num_steps > 1:
            raise ValueError(
                f"'num_feature_layers' must be 1 for sampled neighborhoods "
                f"(got {num_steps})"
            )
        return MultimodalGraph(
            data,
            self.in_channels,
            similar=self.modality_graphs or self.item_graph,
            featured="source" if self.modality_graphs else "item",
        )

    def forward(self) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users and of all items, of size
        :obj:`channels`. If there are new items, further columns hold the
        profiles by which these are scored.
        """
        branches = self.encode()
        user_emb, item_emb = self._split(
            branches.collaborative + branches.content
        )
        if self.new_items is None:
            return user_emb, item_emb
        estimate = self.estimate(branches)
        is_new = self.graph.is_new
        return self.new_items.extend(user_emb, item_emb, estimate, is_new)

    def estimate(self, branches: Branches) -> Tensor:
        r"""Returns what the representations of the items should be by their
        content, as new items have them.

        Args:
            branches (Branches): What :meth:`encode` returns.

        Raises:
            RuntimeError: If no item is new.
        """
        if self.new_items is None:
            raise RuntimeError("There are no new items to estimate")
        _, collaborative = self._split(branches.collaborative)
        _, content = self._split(branches.content)
        return self.new_items(collaborative, self.graph) + content

    def encode(self) -> Branches:
        r"""Computes the representations of all users and items."""
        graph = self.graph
        user_id, item_id = self.id_embeddings(graph)
        collaborative = torch.cat(self.propagation(user_id, item_id, graph))
        items = self._content_sources(item_id, graph)
        users = graph.user_means(items)
        sources = [torch.cat(pair) for pair in zip(users, items, strict=True)]
        mask = torch.cat([graph.user_mask, graph.item_mask])
        content, weight = self._fuse(sources, collaborative, mask)
        return Branches(collaborative, content, weight)

    def id_embeddings(self, graph: InteractionGraph) -> Tuple[Tensor, Tensor]:
        r"""Returns the ID embeddings of the users and items of a graph, of
        zero for items that are new.
        """
        user_id, item_id = super().id_embeddings(graph)
        if isinstance(graph, MultimodalGraph) and graph.has_new:
            item_id = item_id.masked_fill(graph.is_new.view(-1, 1), 0.0)
        return user_id, item_id

    def _content_sources(
        self, item_id: Tensor, graph: MultimodalGraph
    ) -> List[Tensor]:
        """Returns the representations of the items that are to be fused, one
        of each modality and that of the item feature graph.
        """
        source_id = item_id
        if graph.source_index is not None:
            source_id = self.item_embedding(graph.source_index)
            if self.graph.has_new:
                is_new = self.graph.is_new[graph.source_index]
                source_id = source_id.masked_fill(is_new.view(-1, 1), 0.0)
        items: List[Tensor] = []
        for name in self.modalities:
            gate = self.behavior_gates[name](graph.features(name)).sigmoid()
            if self.modality_graphs:
                h = self._convolve(source_id * gate, graph, name)
            else:
                h = item_id * gate
            items.append(h)
        if self.item_graph:
            beta = self._graph_weights(graph.item_mask[:, :-1])
            plain = [
                self._convolve(source_id, graph, name)
                for name in self.modalities
            ]
            weighted = [
                h * weight
                for h, weight in zip(plain, beta.split(1, dim=1), strict=True)
            ]
            items.append(sum(weighted[1:], weighted[0]))
        return items

    def _convolve(
        self, x: Tensor, graph: MultimodalGraph, name: str
    ) -> Tensor:
        matrix = graph.similar[name]
        return self.feature_conv(x, matrix.adj_t, adj=matrix.adj)

    def _graph_weights(self, present: Tensor) -> Tensor:
        """Returns the weights of the feature graphs for each item."""
        logit = self.graph_logit.expand_as(present)
        lowest = torch.finfo(logit.dtype).min
        return logit.masked_fill(~present, lowest).softmax(dim=1)

    def _fuse(
        self, sources: List[Tensor], query: Tensor, mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """Returns the fused representations of some nodes and the weights of
        the modalities, from the rows of these nodes.
        """
        num_modalities = len(self.modalities)
        modality = torch.stack(sources[:num_modalities], dim=1)
        present = None if mask is None else mask[:, :num_modalities]
        if self.attention is not None:
            content, weight = self.attention(
                modality, query, present, return_attention_weights=True
            )
        else:
            if present is None:
                present = modality.new_ones(modality.shape[:2])
            count = present.sum(dim=1, keepdim=True).clamp(min=1)
            weight = present / count
            content = (weight.unsqueeze(-1) * modality).sum(dim=1)
        if self.later_steps.num_steps > 0:
            masks = None
            if mask is not None:
                masks = list(mask.unbind(dim=1))[: len(sources)]
            content = self.later_steps(content, sources, query, masks)
        return self.content_weight * content, weight

    @torch.no_grad()
    def _source_weights(
        self, sources: List[Tensor], query: Tensor, mask: Tensor
    ) -> Tensor:
        """Returns what :meth:`_fuse` multiplies each channel of each source
        with in all, of shape :obj:`[num_nodes, num_sources, channels]`.
        """
        num_modalities = len(self.modalities)
        modality = torch.stack(sources[:num_modalities], dim=1)
        present = mask[:, :num_modalities]
        if self.attention is not None:
            early = self.attention.channel_weights(modality, query, present)
        else:
            count = present.sum(dim=1, keepdim=True).clamp(min=1)
            mean = (present / count).to(modality.dtype)
            early = mean.unsqueeze(-1).expand_as(modality)
        num_others = len(sources) - num_modalities
        out = F.pad(early, (0, 0, 0, num_others))
        if self.later_steps.num_steps > 0:
            content = (early * modality).sum(dim=1)
            masks = list(mask.unbind(dim=1))[: len(sources)]
            _, shares = self.later_steps(
                content, sources, query, masks, return_shares=True
            )
            for step, share in enumerate(shares):
                out = out * (1 - share).unsqueeze(1)
                out[:, step] += share
        return self.content_weight * out

    def loss(
        self,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        graph: Optional[InteractionGraph] = None,
    ) -> Dict[str, Tensor]:
        r"""Computes the BPR loss, the contrastive loss and the L2 term."""
        is_whole = graph is None
        graph = self.graph if graph is None else graph
        assert isinstance(graph, MultimodalGraph)
        user_id, item_id = self.id_embeddings(graph)
        # Propagation is for all nodes, fusion for those of the batch alone.
        # Contrast is between all nodes of a batch, of every process: each
        # process forms the whole of it, and the average of their gradients is
        # that of a single process.
        own = slice(None)
        all_user, all_pos = user, pos_item
        is_contrasted = max(self.contrastive_weight, self.pair_weight) > 0
        if is_whole and is_contrasted:
            own = own_rows(user.numel())
            all_user, all_pos = gather_rows(user), gather_rows(pos_item)
        item = torch.cat([all_pos, neg_item.flatten()])

        def rows(of_user: Tensor, of_item: Tensor) -> Tensor:
            return torch.cat(
                [F.embedding(all_user, of_user), F.embedding(item, of_item)]
            )

        query = rows(*self.propagation(user_id, item_id, graph))
        items = self._content_sources(item_id, graph)
        users = graph.user_means(items, all_user)
        sources = [
            torch.cat([of_user, F.embedding(item, of_item)])
            for of_user, of_item in zip(users, items, strict=True)
        ]
        mask = rows(graph.user_mask, graph.item_mask)
        content, _ = self._fuse(
            sources, query, None if graph.is_complete else mask
        )

        sizes = [all_user.numel(), all_pos.numel(), neg_item.numel()]
        user_emb, pos_emb, neg_emb = (query + content).split(sizes)
        neg_emb = neg_emb.view(*neg_item.shape, -1)
        parts = {
            "bpr": bpr_loss(user_emb[own], pos_emb[own], neg_emb),
            "reg": self._regularization(
                F.embedding(user, user_id),
                F.embedding(pos_item, item_id),
                F.embedding(neg_item, item_id),
            ),
        }
        if not is_contrasted:
            return parts
        # Negatives are not contrasted.
        z_user, z_item, _ = content.split(sizes)
        c_user, c_item, _ = query.split(sizes)
        has_user, has_item, _ = mask[:, -1].split(sizes)
        if self.contrastive_weight > 0:
            weight = self.contrastive_weight
            parts["contrastive"] = self._contrast(
                z_user, c_user, has_user, weight, all_user
            ) + self._contrast(z_item, c_item, has_item, weight, all_pos)
        if self.pair_weight > 0:
            parts["pair_contrastive"] = self._contrast(
                user_emb,
                pos_emb,
                None,
                self.pair_weight,
                same=(all_user, all_pos),
            )
        return parts

    def _contrast(
        self,
        x: Tensor,
        y: Tensor,
        mask: Optional[Tensor],
        weight: float,
        node: Optional[Tensor] = None,
        same: Sequence[Tensor] = (),
    ) -> Tensor:
        """Contrasts two views of rows, weighted as their scale allows."""
        rows = slice(self.contrast_size)
        x, y = x[rows], y[rows]
        mask = None if mask is None else mask[rows]
        node = None if node is None else node[rows]
        same = [group[rows] for group in same]
        loss = info_nce(x, y, self.temperature, node, mask, same)
        return (self.max_contrast * _scale(x, y)).clamp(max=weight) * loss

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
            f"num_layers={self.num_layers})"
        )


@torch.no_grad()
def _scale(x: Tensor, y: Tensor) -> Tensor:
    """Returns the mean product of lengths."""
    return (x.norm(dim=1) * y.norm(dim=1)).mean()

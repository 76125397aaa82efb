import math
from typing import Any, Dict, List, Literal, NamedTuple, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.conv import InteractionPropagation
from tmfun_pyg.nn.distributed import gather_rows, own_rows
from tmfun_pyg.nn.fusion import ContentFusion
from tmfun_pyg.nn.models.content_score import ContentScore
from tmfun_pyg.nn.models.contrasts import Contrasts
from tmfun_pyg.nn.models.embedding_model import Negatives, rows_of, user_rows
from tmfun_pyg.nn.models.item_content import ItemContent
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.neighbor_gain import neighbor_gain
from tmfun_pyg.nn.models.neighbor_score import NeighborScore
from tmfun_pyg.nn.models.score_weights import LEAST, fit_weights
from tmfun_pyg.nn.models.tmfun_encoding import Pair, TMFUNEncoding
from tmfun_pyg.nn.models.user_content import user_content
from tmfun_pyg.utils.messages import check_at_least, check_count, check_positive
from tmfun_pyg.utils.neighbor_scorer import NeighborScorer
from tmfun_pyg.utils.retrieval import EmbeddingScorer
from tmfun_pyg.utils.schema import SIMILAR, is_sampled_batch
from tmfun_pyg.utils.user_items import UserItems

# How many users are fused at once on the CPU when gradients are disabled:
BLOCK = 2**16
# With a smaller gain, in nats per user, the neighbor weight starts at LEAST:
LEAST_GAIN = 0.04


class _Branches(NamedTuple):
    """The inputs of the fusion, computed for all nodes at once: ID
    embeddings, the collaborative branch, and the sources.
    """

    id_emb: Pair
    collaborative: Pair
    sources: List[Tensor]


class _FoldInState(NamedTuple):
    """Item representations that new users are computed from: sums of layers,
    the sources of the fusion, and the factors of the content score.
    """

    sums: Tensor
    sources: List[Tensor]
    unit: List[Tensor]


class TMFUN(MultimodalModel):
    r"""The attention-guided multi-step fusion network for multimodal
    recommendation, from `"Attention-guided Multi-step Fusion: A Hierarchical
    Fusion Network for Multimodal Recommendation"
    <https://arxiv.org/abs/2304.11979>`_.

    The abstract fixes the components; the equations are our reading. With ID
    embeddings :math:`\mathbf{E}`, item features :math:`\mathbf{X}_m` of
    modality :math:`m`, the normalized user-item graph :math:`\mathbf{A}` and
    the modality feature graphs :math:`\mathbf{S}_m`:

    .. math::
        \mathbf{X}^c &= \frac{1}{L + 1} \sum_{l=0}^{L} \mathbf{A}^l \mathbf{E}
        && \textrm{(collaborative branch)}

        \mathbf{H}_1, \ldots, \mathbf{H}_{|\mathcal{M}|}, \mathbf{H} &=
        \mathrm{ItemContent}(\mathbf{E}_{\mathcal{I}}; \mathbf{X}_m,
        \mathbf{S}_m)
        && \textrm{(modality and item feature graphs)}

        \mathbf{Z} &= w \cdot \mathrm{ContentFusion} (\mathbf{H}_1, \ldots,
        \mathbf{H}_{|\mathcal{M}|}, \mathbf{H};\ \mathbf{X}^c)
        && \textrm{(early step, later steps)}

        \mathbf{X} &= \left[ \mathbf{X}^c + \mathbf{Z} \mathbin\Vert
        \mathrm{ContentScore}(\mathbf{X}_m) \right]
        && \textrm{(a direct score of content)}

        \hat{y}_{ui} &= \mathbf{x}_u^{\top} \mathbf{x}_i +
        \mathrm{NeighborScore}(u, i)
        && \textrm{(a direct score of items chosen together)}

    The user rows of :math:`\mathbf{H}_m` are means over the user's items that
    have the modality, those of :math:`\mathbf{H}` over the items that have any.
    In training, the positive item of a row is left out of its user's means,
    since the mean would give it away. Every other row of a batch is scored
    without :class:`~tmfun_pyg.nn.NeighborScore`, so that the embeddings learn
    what they can on their own: they are all that :meth:`encode` returns, and
    :meth:`scorer` adds the neighbor score. Features are standardized to zero
    mean and unit variance item by item. A cold item, without training
    interactions, has an ID embedding of zero, so only its content counts; see
    :class:`~tmfun_pyg.nn.ColdItems` for better estimates.

    The loss is :math:`\mathcal{L}_r + \mathcal{L}_a + \mathcal{L}_c +
    \mathcal{L}_p + \lambda_r L_2`: a ranking loss,
    :class:`~tmfun_pyg.nn.SampledSoftmaxLoss` or
    :class:`~tmfun_pyg.nn.BPRLoss`, the three contrasts of
    :class:`~tmfun_pyg.nn.Contrasts` over the interactions of a batch, and L2
    of its ID embeddings.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings.
            (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L` of the
            collaborative branch. (default: :obj:`4`)
        step_kind (str, optional): The kind of the later steps,
            :obj:`"gate"` or :obj:`"attention"`. (default: :obj:`"gate"`)
        content_weight (float, optional): The weight :math:`w` of content.
            (default: :obj:`1 / 3`)
        score_channels (int, optional): The maximum number of columns of the
            :class:`~tmfun_pyg.nn.ContentScore` per modality; 0 turns it off.
            (default: :obj:`256`)
        neighbors (int, optional): The number of neighbors per item in the
            :class:`~tmfun_pyg.nn.NeighborScore`; 0 turns it off. See
            :meth:`fit` for its initial weight. (default: :obj:`20`)
        softmax_negatives (int or str, optional): The number of the batch's
            negatives in the softmax of the ranking loss; 0 for BPR. With
            :obj:`"auto"`, a row uses :math:`\min(4 n^2, 128)` of them, for a
            user with :math:`n` training items. (default: :obj:`"auto"`)
        alignment_weight (float, optional): The weight :math:`\lambda_a`.
            (default: :obj:`0.0`)
        contrastive_weight (float, optional): The weight :math:`\lambda_c`.
            (default: :obj:`0.01`)
        pair_weight (float, optional): The weight :math:`\lambda_p`.
            (default: :obj:`0.01`)
        temperature (float, optional): The temperature of all contrasts.
            (default: :obj:`0.2`)
        reg_weight (float, optional): The weight :math:`\lambda_r` of the L2
            term on the ID embeddings of a batch. (default: :obj:`1e-4`)
        modality_graphs (bool, optional): If set to :obj:`False`, the gated
            embeddings are not propagated over the modality feature graphs.
            (default: :obj:`True`)
        item_graph (bool, optional): If set to :obj:`False`, the item feature
            graph is left out. (default: :obj:`True`)
        attention (bool, optional): If set to :obj:`False`, the early step is
            the mean over the modalities present. (default: :obj:`True`)
        later_steps (bool, optional): If set to :obj:`False`, there are no
            steps after the early one. (default: :obj:`True`)
        contrastive (bool, optional): If set to :obj:`False`, there is no
            contrastive loss. (default: :obj:`True`)
        leave_one_out (bool, optional): If set to :obj:`False`, the positive
            item stays in its user's means in training.
            (default: :obj:`True`)
        sparse (bool, optional): If set to :obj:`True`, gradients of the ID
            embeddings are sparse in training on sampled neighborhoods.
            (default: :obj:`False`)
        svd_start (bool or str, optional): If set to :obj:`True`, training
            starts from the leading singular vectors of the normalized
            interactions, added to the random ID embeddings; :obj:`"auto"`
            does so from 262,144 interactions on. (default: :obj:`"auto"`)

    Raises:
        ValueError: If a size or an option is out of range, or there is no
            modality.
    """

    supports_sampling = True
    supports_cold_items = True
    estimates_cold_items = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 4,
        step_kind: Literal["gate", "attention"] = "gate",
        content_weight: float = 1 / 3,
        score_channels: int = 256,
        neighbors: int = 20,
        softmax_negatives: Negatives = "auto",
        alignment_weight: float = 0.0,
        contrastive_weight: float = 0.01,
        pair_weight: float = 0.01,
        temperature: float = 0.2,
        reg_weight: float = 1e-4,
        modality_graphs: bool = True,
        item_graph: bool = True,
        attention: bool = True,
        later_steps: bool = True,
        contrastive: bool = True,
        leave_one_out: bool = True,
        sparse: bool = False,
        svd_start: Union[bool, Literal["auto"]] = "auto",
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers,
            reg_weight,
            sparse,
            softmax_negatives,
            svd_start,
        )
        self.leave_one_out = leave_one_out
        check_at_least("content_weight", content_weight, 0)
        check_positive("temperature", temperature)
        self.item_graph = item_graph and later_steps
        self.reads_feature_graphs = modality_graphs or self.item_graph
        self.propagation = InteractionPropagation(num_layers)
        self.item_content = ItemContent(
            in_channels, channels, modality_graphs, self.item_graph
        )
        self.fusion = ContentFusion(
            channels,
            len(in_channels),
            content_weight,
            step_kind,
            item_graph,
            attention,
            later_steps,
        )
        check_count("score_channels", score_channels, 0)
        self.content_score = (
            ContentScore(in_channels, score_channels)
            if score_channels
            else None
        )
        check_count("neighbors", neighbors, 0)
        self.neighbor_score = (
            NeighborScore(num_items, neighbors) if neighbors else None
        )
        self.contrasts = Contrasts(
            alignment_weight * contrastive,
            contrastive_weight * contrastive,
            pair_weight * contrastive,
            temperature,
        )
        self.register_load_state_dict_post_hook(_were_scores_loaded)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        self.is_fitted = False
        self.item_content.reset_parameters()
        self.fusion.reset_parameters()
        if self.content_score is not None:
            self.content_score.reset_parameters()
        if self.neighbor_score is not None:
            self.neighbor_score.reset_parameters()

    def fit(self, data: HeteroData) -> None:
        r"""Fits the content score and the neighbor score to features and
        interactions, and their weights such that they explain the
        interactions best without the embeddings. If adding the neighbor score
        to popularity improves the mean log-likelihood of users' held-out
        choices by less than 0.04 nats (see
        :func:`~tmfun_pyg.nn.models.neighbor_gain.neighbor_gain`), its weight
        starts at 0.1. Adds singular vectors to the embeddings according to
        :obj:`svd_start`. Anything already fitted or loaded is left unchanged.
        """
        super().fit(data)
        if self.is_fitted:
            return
        parts = [self.content_score, self.neighbor_score]
        found = [part for part in parts if part is not None]
        for part in found:
            part.fit(data)
        near = self.neighbor_score
        if near is not None and neighbor_gain(data, near.k) < LEAST_GAIN:
            torch.nn.init.constant_(near.log_weight, math.log(LEAST))
            found.remove(near)
        if found:
            fit_weights(
                data,
                [part.rows for part in found],
                [part.log_weight for part in found],
            )
        self.is_fitted = True

    def prepare(
        self, data: HeteroData, epoch: Optional[int] = None
    ) -> HeteroData:
        r"""Precomputes the inputs of the content score."""
        self.check_data(data)
        if self.content_score is None:
            return data
        return self.content_score.prepare(data)

    def id_embeddings(self, data: HeteroData) -> Pair:
        r"""Returns the ID embeddings of a graph, zero for cold items."""
        user_id, item_id = super().id_embeddings(data)
        return user_id, _without_cold(item_id, data, "item")

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> TMFUNEncoding:
        r"""Computes the representations of all users and items, or of the
        rows of a batch: propagation covers all nodes, fusion only these rows.
        """
        branches = self._branches(data)
        every = branches.collaborative[0]
        if (
            user is not None
            or torch.is_grad_enabled()
            or every.device.type != "cpu"
            or every.size(0) <= BLOCK
        ):
            return self._encode(data, branches, user, item, exclude)
        return self._encode_in_blocks(data, branches, item)

    def _encode_in_blocks(
        self, data: HeteroData, branches: _Branches, item: Optional[Tensor]
    ) -> TMFUNEncoding:
        """Computes the representations of all users block by block: fusing
        all of them at once would take several times the memory of the result.
        """
        every = torch.arange(branches.collaborative[0].size(0))
        out = self._encode(data, branches, every[:0], item)
        user, content, weight = (
            x.new_empty(every.numel(), x.size(1))
            for x in (out.user, out.content[0], out.weight[0])
        )
        for rows in every.split(BLOCK):
            block = self._encode(data, branches, rows, every[:0])
            user[rows] = block.user
            content[rows] = block.content[0]
            weight[rows] = block.weight[0]
        return out._replace(
            user=user,
            collaborative=(branches.collaborative[0], out.collaborative[1]),
            content=(content, out.content[1]),
            mask=(data["user"].mask, out.mask[1]),
            weight=(weight, out.weight[1]),
        )

    def _branches(self, data: HeteroData) -> _Branches:
        id_emb = self.id_embeddings(data)
        source_id = self._source_embeddings(data, id_emb[1])
        return _Branches(
            id_emb,
            self.propagation(*id_emb, data),
            self.item_content(data, id_emb[1], source_id),
        )

    def _encode(
        self,
        data: HeteroData,
        branches: _Branches,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> TMFUNEncoding:
        out = self._fuse(data, branches, user, item, exclude)
        if self.content_score is None:
            return out
        scores = self.content_score(data, user, item, exclude)
        return out._replace(
            user=torch.cat([out.user, scores[0]], dim=1),
            item=torch.cat([out.item, scores[1]], dim=1),
        )

    def _fuse(
        self,
        data: HeteroData,
        branches: _Branches,
        user: Optional[Tensor],
        item: Optional[Tensor],
        exclude: Optional[Tensor],
    ) -> TMFUNEncoding:
        """Computes the output of :meth:`encode` without the columns of the
        content score.
        """
        id_emb, (user_emb, item_emb), sources = branches
        users, user_mask = user_content(data, sources, user, exclude)
        items, item_mask = sources, data["item"].mask
        if user is not None:
            user_emb = F.embedding(user, user_emb)
        if item is not None:
            item_emb = F.embedding(item, item_emb)
            items = [F.embedding(item, x) for x in sources]
            item_mask = F.embedding(item, item_mask)

        user_needs_mask = not data.is_complete or exclude is not None
        z_user, user_weight = self.fusion(
            users, user_emb, user_mask if user_needs_mask else None
        )
        z_item, item_weight = self.fusion(
            items, item_emb, None if data.is_complete else item_mask
        )
        return TMFUNEncoding(
            user=user_emb + z_user,
            item=item_emb + z_item,
            collaborative=(user_emb, item_emb),
            content=(z_user, z_item),
            mask=(user_mask, item_mask),
            weight=(user_weight, item_weight),
            id_emb=id_emb,
            sources=sources,
        )

    def fold_in_state(self, data: HeteroData) -> _FoldInState:
        r"""Returns the item representations that new users are computed
        from.
        """
        id_emb = self.id_embeddings(data)
        score = self.content_score
        return _FoldInState(
            self.propagation.item_sums(*id_emb, data),
            self.item_content(data, id_emb[1], id_emb[1]),
            [] if score is None else score.items(data),
        )

    def encode_new_users(self, state: _FoldInState, data: HeteroData) -> Tensor:
        r"""Computes the embeddings of new users."""
        user_id = user_rows(self.user_embedding, data)
        query = self.propagation.new_users(user_id, state.sums, data)
        every = torch.arange(query.size(0), device=query.device)
        sources, mask = user_content(data, state.sources, every)
        content, _ = self.fusion(
            sources, query, None if data.is_complete else mask
        )
        out = query + content
        if self.content_score is None:
            return out
        score = self.content_score.users(data, state.unit, every)
        return torch.cat([out, score], dim=1)

    def scorer_of(
        self, user_emb: Tensor, item_emb: Tensor, data: HeteroData
    ) -> EmbeddingScorer:
        r"""Returns a scorer that adds the neighbor score to inner products."""
        if self.neighbor_score is None:
            return super().scorer_of(user_emb, item_emb, data)
        edge_index = data["user", "interacts", "item"].edge_index
        (rowptr, col), _ = edge_index.get_csr()
        owned = UserItems(rowptr, col)
        neighbors = self.neighbor_score.neighbors()
        return NeighborScorer(user_emb, item_emb, neighbors, owned)

    def _source_embeddings(self, data: HeteroData, item_id: Tensor) -> Tensor:
        """Returns the ID embeddings of the sources of the feature graphs."""
        if not is_sampled_batch(data) or not self.reads_feature_graphs:
            return item_id
        source_id = rows_of(self.item_embedding, data[SIMILAR].n_id)
        return _without_cold(source_id, data, SIMILAR)

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss, the contrasts and the L2 term."""
        # The contrasts are over the nodes of a batch of all processes. Each
        # process computes them in full, and the average of their gradients is
        # that of a single process.
        own, all_user, all_pos, neg = slice(None), user, pos_item, neg_item
        if not is_sampled_batch(data):
            own = own_rows(user.numel())
            all_user, all_pos = gather_rows(user), gather_rows(pos_item)
            neg = gather_rows(neg) if self.softmax_negatives else neg
        if self.softmax_negatives:
            neg = neg.flatten()[: self.softmax_negatives].view(1, -1)
        # Computed first, so that it comes last in the backward pass: its
        # gradient is as large as all embeddings, and by then the activations
        # of the batch have been freed.
        reg = self.l2_loss(*self.id_rows(data, user, pos_item, neg_item))
        out = self._fuse(
            data,
            self._branches(data),
            all_user,
            torch.cat([all_pos, neg.flatten()]),
            all_pos if self.leave_one_out else None,
        )
        bias = self._direct_scores(data, own, user, pos_item, neg)
        num_pos = all_pos.numel()
        pos_emb, neg_emb = out.item[:num_pos], out.item[num_pos:]
        parts = {
            self.rank_loss.name: self.rank_rows(
                data,
                user,
                out.user[own],
                pos_emb[own],
                neg_emb.view(*neg.shape, -1),
                bias,
            ),
            "reg": reg,
        }
        parts.update(self.contrasts(out, all_user, all_pos))
        return parts

    def _direct_scores(
        self,
        data: HeteroData,
        own: slice,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
    ) -> Optional[Tensor]:
        """Returns the content scores of a batch, plus the neighbor scores of
        every other row of the batch of all processes. The rest is scored
        without them, so that the embeddings learn what they can on their own.
        """
        scores = None
        if self.content_score is not None:
            exclude = pos_item if self.leave_one_out else None
            scores = self.content_score.scores(
                data, user, pos_item, neg_item, exclude
            )
        if self.neighbor_score is not None:
            half = slice((own.start or 0) % 2, None, 2)
            neg_rows = neg_item if self.softmax_negatives else neg_item[half]
            found = self.neighbor_score(
                data, user[half], pos_item[half], neg_rows
            )
            if scores is None:
                scores = found.new_zeros(user.numel(), found.size(1))
            scores[half] += found
        return scores

    @torch.no_grad()
    def modality_weights(self, data: HeteroData) -> Pair:
        r"""Returns the weights of the modalities in the early step for users
        and for items, of shape :obj:`[num_users, num_modalities]` and
        :obj:`[num_items, num_modalities]`. Nodes without any modality have
        weights of zero.
        """
        return self.encode(self.prepare(data)).weight


def _without_cold(item_id: Tensor, data: HeteroData, node_type: str) -> Tensor:
    if not data.has_cold:
        return item_id
    is_cold = data[node_type].degree == 0
    return item_id.masked_fill(is_cold.view(-1, 1), 0.0)


def _were_scores_loaded(model: TMFUN, _: Any) -> None:
    """Loaded weights need not include those of the direct scores."""
    parts = [model.content_score, model.neighbor_score]
    model.is_fitted = all(part.is_fitted for part in parts if part is not None)

from typing import Any, Dict, List, Literal, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.loss import BPRLoss, L2Loss, SampledSoftmaxLoss
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.messages import check_at_least, check_count, is_whole
from tmfun_pyg.utils.singular_vectors import singular_vectors

# The number of interactions from which ``svd_start="auto"`` adds singular
# vectors, and the root mean square of the norms of their rows:
LARGE, START_NORM = 2**18, 3.0
# The maximum number of negatives with ``softmax_negatives="auto"``, and the
# number for a user with a single training item:
MOST_NEGATIVES, FEWEST_NEGATIVES = 128, 4

Negatives = Union[int, Literal["auto"]]


class EmbeddingModel(RankingModel):
    r"""A model that learns an embedding of each user and each item.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        channels (int): Size of the embeddings.
        num_layers (int): The number of layers over the user-item graph.
        reg_weight (float): The weight of the L2 term on the embeddings of a
            batch.
        sparse (bool, optional): If set to :obj:`True`, the gradients of
            looked-up rows are sparse, see :class:`torch.nn.Embedding`. Only
            training on sampled neighborhoods looks up rows.
            (default: :obj:`False`)
        softmax_negatives (int or str, optional): If positive, the ranking loss
            is :class:`~tmfun_pyg.nn.SampledSoftmaxLoss` over that many of a
            batch's negatives, :class:`~tmfun_pyg.nn.BPRLoss` otherwise. With
            :obj:`"auto"`, a row uses :math:`\min(4 n^2, 128)` of them, for a
            user with :math:`n` training items: the less is known about a
            user, the fewer items the chosen one has to beat (our reading).
            (default: :obj:`0`)
        svd_start (bool or str, optional): If set to :obj:`True`, :meth:`fit`
            adds the leading singular vectors of the normalized interactions,
            one per channel, to the random embeddings. With :obj:`"auto"`, it
            does so from 262,144 interactions on, where epochs are long.
            (default: :obj:`False`)

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        channels: int,
        num_layers: int,
        reg_weight: float,
        sparse: bool = False,
        softmax_negatives: Negatives = 0,
        svd_start: Union[bool, Literal["auto"]] = False,
    ) -> None:
        super().__init__(num_users, num_items)
        check_count("channels", channels)
        check_count("num_layers", num_layers, 0)
        check_at_least("reg_weight", reg_weight, 0)
        # Without layers, a user receives nothing from its items:
        self.supports_fold_in = num_layers > 0
        self.channels = channels
        self.num_layers = num_layers
        self.sparse = sparse
        self.user_embedding = self.embedding(num_users, channels)
        self.item_embedding = self.embedding(num_items, channels)
        self.limits_negatives = softmax_negatives == "auto"
        if softmax_negatives == "auto":
            softmax_negatives = MOST_NEGATIVES
        elif not is_whole(softmax_negatives):
            raise ValueError(
                f"'softmax_negatives' must be a whole number or 'auto' (got "
                f"{softmax_negatives!r})"
            )
        check_count("softmax_negatives", softmax_negatives, 0)
        self.softmax_negatives = softmax_negatives
        self.rank_loss = (
            SampledSoftmaxLoss(softmax_negatives)
            if softmax_negatives > 0
            else BPRLoss()
        )
        self.l2_loss = L2Loss(reg_weight)
        if not isinstance(svd_start, bool) and svd_start != "auto":
            raise ValueError(
                f"'svd_start' must be True, False or 'auto' (got {svd_start!r})"
            )
        self.svd_start = svd_start
        self.is_drawn = True
        self.register_load_state_dict_post_hook(_was_loaded)

    def embedding(self, size: int, channels: int) -> torch.nn.Embedding:
        r"""Creates an embedding table.

        Args:
            size (int): The number of rows.
            channels (int): The size of a row.
        """
        return torch.nn.Embedding(size, channels, sparse=self.sparse)

    def reset_embedding(self, table: torch.nn.Embedding) -> None:
        r"""Resets an embedding table.

        Args:
            table (torch.nn.Embedding): A table from :meth:`embedding`.
        """
        torch.nn.init.xavier_uniform_(table.weight)

    def add_to_embedding(self, table: torch.nn.Embedding, rows: Tensor) -> None:
        r"""Adds values to the first columns of an embedding table.

        Args:
            table (torch.nn.Embedding): A table from :meth:`embedding`.
            rows (torch.Tensor): The values, one row per row of the table.
        """
        table.weight[:, : rows.size(1)] += rows

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for table in (self.user_embedding, self.item_embedding):
            self.reset_embedding(table)
        self.is_drawn = True  # Neither fitted, nor loaded.

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Adds singular vectors to the embeddings according to
        :obj:`svd_start`, unless they were fitted or loaded since
        :meth:`reset_parameters`. With the singular values
        :math:`\boldsymbol{\Sigma}`, users get the rows of
        :math:`\mathbf{U} \boldsymbol{\Sigma}^{1/2}`, items those of
        :math:`\mathbf{V} \boldsymbol{\Sigma}^{1/2}`, each scaled to a root
        mean square norm of three (our reading; GF-CF's filter uses these
        vectors).
        """
        self.check_data(data)
        is_asked = self.svd_start
        if is_asked == "auto":
            num_edges = data["user", "interacts", "item"].num_edges
            is_asked = num_edges >= LARGE
        is_drawn, self.is_drawn = self.is_drawn, False
        if not (is_asked and is_drawn):
            return
        channels = min(self.channels, self.num_users, self.num_items)
        found = singular_vectors(data, channels)
        for table, rows in (
            (self.user_embedding, found.user * found.value.sqrt()),
            (self.item_embedding, found.item * found.value.sqrt()),
        ):
            norm = rows.pow(2).sum(dim=1).mean().sqrt()
            self.add_to_embedding(table, rows * (START_NORM / norm))

    def id_embeddings(self, data: HeteroData) -> Tuple[Tensor, Tensor]:
        r"""Checks a graph, and returns the embeddings of its users and items.

        Args:
            data (HeteroData): The graph, or a sampled batch.
        """
        self.check_data(data)
        return (
            user_rows(self.user_embedding, data),
            rows_of(self.item_embedding, data["item"].get("n_id")),
        )

    def check_data(self, data: HeteroData) -> None:
        r"""Checks that the model can read a graph.

        Raises:
            ValueError: As in :class:`RankingModel`, and if a sample has fewer
                hops than the model has layers.
        """
        super().check_data(data)
        if "num_hops" in data and data.num_hops < self.num_layers:
            raise ValueError(
                f"'num_neighbors' must name one hop for each of the "
                f"{self.num_layers} layers of the model (got {data.num_hops})"
            )

    def ranking_loss(
        self,
        data: HeteroData,
        emb: Tuple[Any, ...],
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss and the L2 term of a batch.

        Args:
            data (HeteroData): The graph.
            emb ((torch.Tensor, torch.Tensor)): The embeddings of all users
                and all items, whose inner products are the scores.
            user (torch.Tensor): The users of the batch.
            pos_item (torch.Tensor): Their positive items.
            neg_item (torch.Tensor): Their negative items.
        """
        rank = self.rank_rows(
            data,
            user,
            F.embedding(user, emb[0]),
            F.embedding(pos_item, emb[1]),
            F.embedding(neg_item, emb[1]),
        )
        reg = self.l2_loss(*self.id_rows(data, user, pos_item, neg_item))
        return {self.rank_loss.name: rank, "reg": reg}

    def rank_rows(
        self,
        data: HeteroData,
        user: Tensor,
        user_emb: Tensor,
        pos_emb: Tensor,
        neg_emb: Tensor,
        bias: Optional[Tensor] = None,
    ) -> Tensor:
        r"""Computes the ranking loss of the rows of a batch, over the number
        of negatives given by :obj:`softmax_negatives`.

        Args:
            data (HeteroData): The graph.
            user (torch.Tensor): The users of the rows.
            user_emb (torch.Tensor): Their embeddings.
            pos_emb (torch.Tensor): Those of their positive items.
            neg_emb (torch.Tensor): Those of negative items.
            bias (torch.Tensor, optional): Terms added to the scores, see
                :class:`~tmfun_pyg.nn.SampledSoftmaxLoss`.
                (default: :obj:`None`)
        """
        rows = user_emb, pos_emb, neg_emb, bias
        if not self.limits_negatives:
            return self.rank_loss(*rows)
        num_items = data["user"].degree.index_select(0, user)
        return self.rank_loss(*rows, FEWEST_NEGATIVES * num_items.square())

    def id_rows(
        self, data: HeteroData, user: Tensor, *items: Tensor
    ) -> List[Tensor]:
        r"""Returns the embeddings of the rows of a batch.

        Args:
            data (HeteroData): The graph.
            user (torch.Tensor): The users.
            *items (torch.Tensor): Items, of any shape.
        """
        tables = [self.user_embedding] + [self.item_embedding] * len(items)
        stores = [data["user"]] + [data["item"]] * len(items)
        return [
            table(store.n_id[index] if "n_id" in store else index)
            for table, store, index in zip(
                tables, stores, (user, *items), strict=True
            )
        ]

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.num_users}, {self.num_items}, "
            f"channels={self.channels}, num_layers={self.num_layers})"
        )


def _was_loaded(model: EmbeddingModel, _: Any) -> None:
    model.is_drawn = False


def rows_of(table: torch.nn.Embedding, index: Optional[Tensor]) -> Tensor:
    r"""Returns rows of a table, or all of them for :obj:`None`.

    Args:
        table (torch.nn.Embedding): The table.
        index (torch.Tensor, optional): The rows.
    """
    return table.weight if index is None else table(index)


def user_rows(table: torch.nn.Embedding, data: HeteroData) -> Tensor:
    r"""Returns the rows of the users of a graph, zero for those of
    :class:`~tmfun_pyg.transforms.AddUsers` that are unknown to the model.

    Args:
        table (torch.nn.Embedding): A table with one row per user.
        data (HeteroData): The graph, or a sampled batch.
    """
    rows = rows_of(table, data["user"].get("n_id"))
    added = data["user"].get("added")
    if added is None:
        return rows
    is_unknown = (added < 0).view(-1, 1)
    more = table(added.clamp(min=0)).masked_fill(is_unknown, 0.0)
    return torch.cat([rows, more])

import copy
from typing import Any, Dict, NamedTuple, Optional, Tuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms.add_users import AddUsers
from tmfun_pyg.utils.edges import check_graph, graph_k, plain_edges
from tmfun_pyg.utils.inference import inference
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer
from tmfun_pyg.utils.schema import is_rec_graph, is_sampled_batch, modalities_of

ModelType = TypeVar("ModelType", bound="RankingModel")


class Embeddings(NamedTuple):
    r"""What :meth:`RankingModel.encode` returns at least. Models that have
    more to tell return a tuple that begins with these two.

    Args:
        user (torch.Tensor): The embeddings of users, of shape
            :obj:`[num_rows, channels]`.
        item (torch.Tensor): The embeddings of items, of shape
            :obj:`[num_rows, channels]`.
    """

    user: Tensor
    item: Tensor

    def rows(
        self, user: Optional[Tensor], item: Optional[Tensor]
    ) -> "Embeddings":
        r"""Returns some rows, all of them for :obj:`None`.

        Args:
            user (torch.Tensor, optional): The users.
            item (torch.Tensor, optional): The items.
        """
        return Embeddings(
            self.user if user is None else F.embedding(user, self.user),
            self.item if item is None else F.embedding(item, self.item),
        )


class RankingModel(torch.nn.Module):
    r"""The base class of all models here, which rank items for users.

    A model holds weights and nothing of a data set. What it reads comes with
    each call, as a graph of :class:`~tmfun_pyg.transforms.ToRecGraph`:

    .. code-block:: python

        model = TMFUN.from_data(data)
        user_emb, item_emb = model(data)
        loss = sum(model.loss(data, user, pos_item, neg_item).values())

    A model of your own implements :meth:`encode`, the only place that computes
    embeddings, and :meth:`loss`. One in closed form implements :meth:`fit`
    in place of :meth:`loss`, and one without embeddings, such as a matrix of
    items by items, :meth:`scorer` in place of :meth:`encode`.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.

    Raises:
        ValueError: If a size is not positive.
    """

    #: Whether the model reads features of items, and cannot do without.
    needs_features: bool = False
    #: Whether the model reads feature graphs. ``tmfun fit`` and ``search``
    #: make none for a class that does not.
    reads_feature_graphs: bool = True
    #: Whether the model can be trained on sampled neighborhoods.
    supports_sampling: bool = False
    #: Whether items without a training interaction are scored by content.
    supports_cold_items: bool = False
    #: Whether users of :class:`~tmfun_pyg.transforms.AddUsers` are known by
    #: their items.
    supports_fold_in: bool = False
    #: Whether :class:`~tmfun_pyg.nn.ColdItems` helps with such items.
    estimates_cold_items: bool = False
    #: Whether :meth:`encode` is there, and scores are inner products, with
    #: what :meth:`scorer_of` adds to them.
    has_embeddings: bool = True
    #: The options given to :meth:`from_data`.
    options: Optional[Dict[str, Any]] = None
    #: The fingerprint of the data set it was made for, if that is known.
    fingerprint: Optional[str] = None
    #: The :obj:`k` of the feature graphs it was made for, if it reads any.
    graph_k: Optional[int] = None

    def __init__(self, num_users: int, num_items: int) -> None:
        super().__init__()
        for name, size in (("num_users", num_users), ("num_items", num_items)):
            check_count(name, size)
        self.num_users = num_users
        self.num_items = num_items

    @classmethod
    def from_data(
        cls: "type[ModelType]", data: HeteroData, **kwargs: Any
    ) -> ModelType:
        r"""Builds the model for a data set, of which it reads the sizes.

        Args:
            data (HeteroData): The data set.
            **kwargs (optional): Options of the constructor.

        Raises:
            ValueError: If it is not a graph, if it lacks the features that the
                model needs, or if an option is out of range.
        """
        check_graph(data)
        cls.check_features(data)
        model = cls(**cls.sizes_of(data), **kwargs)
        model.options = kwargs
        model.fingerprint = getattr(data, "fingerprint", None)
        model.graph_k = graph_k(data) if model.reads_feature_graphs else None
        return model

    @classmethod
    def sizes_of(cls, data: HeteroData) -> Dict[str, Any]:
        r"""Returns those arguments of the constructor that a data set gives.

        Args:
            data (HeteroData): The data set.
        """
        return {
            "num_users": data["user"].num_nodes,
            "num_items": data["item"].num_nodes,
        }

    def in_own_precision(self, data: HeteroData) -> HeteroData:
        r"""Returns the graph in double precision if the weights are, on a
        shallow copy. For weights of lower precision the graph stays as
        :class:`~tmfun_pyg.transforms.ToRecGraph` made it.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`, or a sampled batch.
        """
        if all(p.dtype != torch.double for p in self.parameters()):
            return data
        return copy.copy(data).apply(
            lambda x: x.double() if x.is_floating_point() else x
        )

    def prepare(
        self, data: HeteroData, epoch: Optional[int] = None
    ) -> HeteroData:
        r"""Returns the graph that :meth:`encode` and :meth:`loss` read, with
        what changes from epoch to epoch. The graph as it is, unless
        overridden.

        What is random here must be drawn from a generator seeded by
        :obj:`epoch`, so that all processes draw the same, and so does a
        resumed run.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
            epoch (int, optional): The epoch of training that begins, none
                outside of training. (default: :obj:`None`)
        """
        return data

    def fit(self, data: HeteroData) -> None:
        r"""Computes weights in closed form. Called once, before the first
        epoch of training. Does nothing, unless overridden.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Tuple[Any, ...]:
        r"""Computes embeddings, of all users and items or of the rows of a
        batch.

        Args:
            data (HeteroData): What :meth:`prepare` returns, or a sampled
                batch.
            user (torch.Tensor, optional): The users, of shape
                :obj:`[num_rows]`, all of them if not given.
                (default: :obj:`None`)
            item (torch.Tensor, optional): The items, of any number, all of
                them if not given. (default: :obj:`None`)
            exclude (torch.Tensor, optional): An item for each user, of shape
                :obj:`[num_rows]`, that is left out of means over the user's
                own items. (default: :obj:`None`)

        Returns:
            A tuple that begins with the embeddings of users and of items, as
            :class:`Embeddings`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no embeddings")

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the weighted parts of the training loss, whose sum is to
        be minimized. There are none, unless overridden.

        Args:
            data (HeteroData): What :meth:`prepare` returns, or a sampled
                batch.
            user (torch.Tensor): The users, of shape :obj:`[batch_size]`.
            pos_item (torch.Tensor): An item each of them interacted with, of
                shape :obj:`[batch_size]`.
            neg_item (torch.Tensor): Items they did not interact with, of
                shape :obj:`[batch_size, num_negatives]`. In a sampled batch
                of a model with :obj:`softmax_negatives`, only the first
                interactions have some, and there are fewer rows.
        """
        return {}

    def forward(self, data: HeteroData) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users, of shape
        :obj:`[num_users, channels]`, and of all items, of shape
        :obj:`[num_items, channels]`, whose inner product ranks items, together
        with what :meth:`scorer_of` adds to it.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.

        Raises:
            ValueError: If the graph is not of the model's sizes, or not what
                the model reads.
        """
        user_emb, item_emb, *_ = self.encode(self.prepare(data))
        return user_emb, item_emb

    def scorer(self, data: HeteroData) -> Scorer:
        r"""Returns what scores all items for some users, in evaluation mode.
        To be overridden by models without embeddings.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        with inference(self):
            user_emb, item_emb = self(data)
            return self.scorer_of(user_emb, item_emb, data)

    def scorer_of(
        self, user_emb: Tensor, item_emb: Tensor, data: HeteroData
    ) -> EmbeddingScorer:
        r"""Returns what scores items by embeddings. To be overridden where
        there is more to a score than their inner product.

        Args:
            user_emb (torch.Tensor): The embeddings of all users.
            item_emb (torch.Tensor): The embeddings of all items.
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        return EmbeddingScorer(user_emb, item_emb)

    def fold_in_state(self, data: HeteroData) -> Any:
        r"""Returns what :meth:`encode_new_users` reads beside the users, made
        once for all of them. The graph as it is, unless overridden.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        return data

    def encode_new_users(self, state: Any, data: HeteroData) -> Tensor:
        r"""Returns the embeddings of users whom
        :class:`~tmfun_pyg.transforms.AddUsers` adds to a graph, in evaluation
        mode. Encodes the whole graph with them; to be overridden, together
        with :meth:`fold_in_state`, where their items suffice.

        Args:
            state (Any): What :meth:`fold_in_state` returns for the graph.
            data (HeteroData): These users alone.
        """
        added = data["user"].added
        pairs = plain_edges(data["user", "interacts", "item"].edge_index)
        graph = self.prepare(AddUsers(pairs, added)(state))
        row = torch.arange(added.numel(), device=added.device) + self.num_users
        return self.encode(graph, row, row[:0])[0]

    def check_data(self, data: HeteroData) -> None:
        r"""Checks that a graph is one that the model can read. To be called
        by :meth:`encode`.

        Args:
            data (HeteroData): The graph.

        Raises:
            ValueError: If the graph is not of the model's sizes or was not
                made by :class:`~tmfun_pyg.transforms.ToRecGraph`, if it is of
                another data set than the model was made for, if it lacks
                the features that the model needs, or if it is a sample and
                the model cannot read one.
        """
        name = type(self).__name__
        if not is_rec_graph(data):
            raise ValueError(
                f"{name} reads graphs of ToRecGraph(): apply "
                f"tmfun_pyg.transforms.ToRecGraph() to 'data' first"
            )
        if is_sampled_batch(data):
            if not self.supports_sampling:
                raise ValueError(
                    f"{name} cannot be trained on sampled neighborhoods: "
                    f"leave out 'num_neighbors'"
                )
            return
        num_users = data["user"].num_nodes
        if self.supports_fold_in and "added" in data["user"]:
            num_users -= data["user"].added.numel()
        for node_type, size, found in (
            ("user", self.num_users, num_users),
            ("item", self.num_items, data["item"].num_nodes),
        ):
            if found != size:
                raise ValueError(
                    f"{name} was made for {size} {node_type}s, but 'data' "
                    f"has {found}"
                )
        found = getattr(data, "fingerprint", None)
        if None not in (self.fingerprint, found) and found != self.fingerprint:
            raise ValueError(
                f"'data' must be of the data set that {name} was made for, of "
                f"the fingerprint {self.fingerprint} (got {found})"
            )
        self.check_features(data)

    @classmethod
    def check_features(cls, data: HeteroData) -> None:
        r"""Checks that a graph has the features that the model needs.

        Args:
            data (HeteroData): The graph.

        Raises:
            ValueError: If it has none, and the model cannot do without.
        """
        if cls.needs_features and len(modalities_of(data)) == 0:
            raise ValueError(
                f"'data' must have features of items for {cls.__name__} (got "
                f"none); models that read none are BPRMF, LightGCN, SimGCL, "
                f"EASE, GFCF, IALS, ItemKNN, MostPopular and RP3beta"
            )

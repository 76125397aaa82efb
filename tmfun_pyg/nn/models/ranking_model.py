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
    r"""The minimal output of :meth:`RankingModel.encode`. Models with more
    outputs return a tuple that begins with these two.

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
        r"""Returns the given rows, or all of them for :obj:`None`.

        Args:
            user (torch.Tensor, optional): The users.
            item (torch.Tensor, optional): The items.
        """
        return Embeddings(
            self.user if user is None else F.embedding(user, self.user),
            self.item if item is None else F.embedding(item, self.item),
        )


class RankingModel(torch.nn.Module):
    r"""The base class of all models, which rank items for users.

    A model holds weights, but no data. Each call takes the data as a graph of
    :class:`~tmfun_pyg.transforms.ToRecGraph`:

    .. code-block:: python

        model = TMFUN.from_data(data)
        user_emb, item_emb = model(data)
        loss = sum(model.loss(data, user, pos_item, neg_item).values())

    Your own model implements :meth:`encode`, the only place that computes
    embeddings, and :meth:`loss`. A closed-form model implements :meth:`fit`
    instead of :meth:`loss`, and a model without embeddings, such as an
    item-item matrix, implements :meth:`scorer` instead of :meth:`encode`.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.

    Raises:
        ValueError: If a size is not positive.
    """

    #: Whether the model requires item features.
    needs_features: bool = False
    #: Whether the model reads feature graphs. ``tmfun fit`` and ``search``
    #: build none for a class that does not.
    reads_feature_graphs: bool = True
    #: Whether the model can be trained on sampled neighborhoods.
    supports_sampling: bool = False
    #: Whether items without training interactions are scored by content.
    supports_cold_items: bool = False
    #: Whether users of :class:`~tmfun_pyg.transforms.AddUsers` are encoded
    #: from their items.
    supports_fold_in: bool = False
    #: Whether :class:`~tmfun_pyg.nn.ColdItems` helps with cold items.
    estimates_cold_items: bool = False
    #: Whether the model has :meth:`encode`, and scores are inner products
    #: plus any terms that :meth:`scorer_of` adds.
    has_embeddings: bool = True
    #: The options given to :meth:`from_data`.
    options: Optional[Dict[str, Any]] = None
    #: The fingerprint of the data set it was made for, if known.
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
        r"""Builds the model with the sizes of a data set.

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
        r"""Returns the constructor arguments that a data set determines.

        Args:
            data (HeteroData): The data set.
        """
        return {
            "num_users": data["user"].num_nodes,
            "num_items": data["item"].num_nodes,
        }

    def in_own_precision(self, data: HeteroData) -> HeteroData:
        r"""Returns a shallow copy of the graph in double precision if the
        weights are. For weights of lower precision, the graph stays as
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
        the parts that change from epoch to epoch. Returns the graph unchanged
        unless overridden.

        Random numbers must come from a generator seeded by :obj:`epoch`, so
        that all processes and resumed runs sample the same.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
            epoch (int, optional): The training epoch that begins, :obj:`None`
                outside of training. (default: :obj:`None`)
        """
        return data

    def fit(self, data: HeteroData) -> None:
        r"""Computes weights in closed form. Called once, before the first
        training epoch. Does nothing unless overridden.

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
        r"""Computes the embeddings of all users and items, or of the rows of a
        batch.

        Args:
            data (HeteroData): The output of :meth:`prepare`, or a sampled
                batch.
            user (torch.Tensor, optional): The users, of shape
                :obj:`[num_rows]`, all of them if not given.
                (default: :obj:`None`)
            item (torch.Tensor, optional): Any number of items, all of them if
                not given. (default: :obj:`None`)
            exclude (torch.Tensor, optional): An item per user, of shape
                :obj:`[num_rows]`, to leave out of means over the user's items.
                (default: :obj:`None`)

        Returns:
            A tuple that begins with the embeddings of users and of items, as
            in :class:`Embeddings`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no embeddings")

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the weighted parts of the training loss, whose sum is to
        be minimized. There are none unless overridden.

        Args:
            data (HeteroData): The output of :meth:`prepare`, or a sampled
                batch.
            user (torch.Tensor): The users, of shape :obj:`[batch_size]`.
            pos_item (torch.Tensor): An item each of them interacted with, of
                shape :obj:`[batch_size]`.
            neg_item (torch.Tensor): Items they did not interact with, of
                shape :obj:`[batch_size, num_negatives]`. In a sampled batch
                of a model with :obj:`softmax_negatives`, only the first
                interactions have negatives, so there are fewer rows.
        """
        return {}

    def forward(self, data: HeteroData) -> Tuple[Tensor, Tensor]:
        r"""Returns the embeddings of all users, of shape
        :obj:`[num_users, channels]`, and of all items, of shape
        :obj:`[num_items, channels]`. Their inner products, plus any terms that
        :meth:`scorer_of` adds, rank the items.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.

        Raises:
            ValueError: If the graph does not have the model's sizes, or the
                model cannot read it.
        """
        user_emb, item_emb, *_ = self.encode(self.prepare(data))
        return user_emb, item_emb

    def scorer(self, data: HeteroData) -> Scorer:
        r"""Returns a scorer of all items for given users, in evaluation mode.
        Models without embeddings override it.

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
        r"""Returns a scorer of items by embeddings. Override it if a score is
        more than their inner product.

        Args:
            user_emb (torch.Tensor): The embeddings of all users.
            item_emb (torch.Tensor): The embeddings of all items.
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        return EmbeddingScorer(user_emb, item_emb)

    def fold_in_state(self, data: HeteroData) -> Any:
        r"""Returns the state that :meth:`encode_new_users` reads besides the
        users, computed once for all of them. Returns the graph unchanged
        unless overridden.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        return data

    def encode_new_users(self, state: Any, data: HeteroData) -> Tensor:
        r"""Returns the embeddings of users that
        :class:`~tmfun_pyg.transforms.AddUsers` adds to a graph. Encodes the
        whole graph with them; override it together with :meth:`fold_in_state`
        if their items suffice.

        Args:
            state (Any): The output of :meth:`fold_in_state` for the graph.
            data (HeteroData): The graph of these users alone.
        """
        added = data["user"].added
        pairs = plain_edges(data["user", "interacts", "item"].edge_index)
        graph = self.prepare(AddUsers(pairs, added)(state))
        row = torch.arange(added.numel(), device=added.device) + self.num_users
        return self.encode(graph, row, row[:0])[0]

    def check_data(self, data: HeteroData) -> None:
        r"""Checks that the model can read a graph. :meth:`encode` must call
        it.

        Args:
            data (HeteroData): The graph.

        Raises:
            ValueError: If the graph does not have the model's sizes or was not
                made by :class:`~tmfun_pyg.transforms.ToRecGraph`, if it is
                from a different data set than the model was made for, if it
                lacks the features that the model needs, or if it is a sample
                and the model cannot read one.
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

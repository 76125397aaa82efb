from typing import Dict, Iterator, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn.inits import glorot, reset
from torch_geometric.nn.module_dict import ModuleDict

from tmfun_pyg.nn.models.embedding_model import Negatives, user_rows
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.ranking_model import Embeddings
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.messages import check_count

Pair = Tuple[Tensor, Tensor]


class MMGCN(MultimodalModel):
    r"""MMGCN from the `"MMGCN: Multi-modal Graph Convolution Network for
    Personalized Recommendation of Micro-video"
    <https://doi.org/10.1145/3343031.3351034>`_ paper: a graph network over
    the user-item graph for each modality :math:`m`, in the variant with mean
    aggregation and concatenation. For a node :math:`n`, a user or an item,
    with neighbors :math:`\mathcal{N}_n` and ID embedding
    :math:`\mathbf{e}_n`, layer :math:`l` computes

    .. math::
        \mathbf{h}_{n,m} &= \mathrm{LeakyReLU} \left(
        \frac{1}{|\mathcal{N}_n|} \sum_{k \in \mathcal{N}_n}
        \mathbf{W}^{(l)}_{1,m} \mathbf{x}^{(l-1)}_{k,m} \right)
        && \textrm{(aggregation layer)}

        \hat{\mathbf{x}}_{n,m} &= \mathrm{LeakyReLU} \left(
        \mathbf{W}^{(l)}_{2,m} \mathbf{x}^{(l-1)}_{n,m} \right) + \mathbf{e}_n

        \mathbf{x}^{(l)}_{n,m} &= \mathrm{LeakyReLU} \left(
        \mathbf{W}^{(l)}_{3,m} \left( \mathbf{h}_{n,m} \, \Vert \,
        \hat{\mathbf{x}}_{n,m} \right) \right)
        && \textrm{(combination layer)}

    and the embedding of a node is :math:`\sum_m \mathbf{x}^{(L)}_{n,m}`.

    In our reading, :math:`\mathbf{x}^{(0)}_{n,m}` is a learned preference for
    a user, and a linear map of the features to the same size for an item, both
    normalized to unit length. Features are constants, standardized to zero
    mean and unit variance item by item, as in all models here. If an item
    lacks a modality, :math:`\mathbf{x}^{(0)}_{n,m}` is zero: the network of
    that modality then knows the item only by its users and its ID. The loss is
    BPR with an L2 term on the ID embeddings and preferences of a batch.

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        in_channels (Dict[str, int]): The feature size of each modality.
        channels (int, optional): Size of the embeddings and of all
            representations. (default: :obj:`64`)
        num_layers (int, optional): The number of layers :math:`L`.
            (default: :obj:`2`)
        reg_weight (float, optional): The weight of the L2 term on the
            embeddings of a batch. (default: :obj:`1e-4`)
        softmax_negatives (int or str, optional): See
            :class:`~tmfun_pyg.nn.EmbeddingModel`. (default: :obj:`0`)

    Raises:
        ValueError: If there is no modality, or :obj:`num_layers` is not
            positive.
    """

    reads_feature_graphs = False

    def __init__(
        self,
        num_users: int,
        num_items: int,
        in_channels: Dict[str, int],
        channels: int = 64,
        num_layers: int = 2,
        reg_weight: float = 1e-4,
        softmax_negatives: Negatives = 0,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            in_channels,
            channels,
            num_layers,
            reg_weight,
            softmax_negatives=softmax_negatives,
        )
        check_count("num_layers", num_layers)
        self.preferences = ModuleDict(
            {name: self.embedding(num_users, channels) for name in in_channels}
        )
        self.projections = ModuleDict(
            {
                name: torch.nn.Linear(size, channels, bias=False)
                for name, size in in_channels.items()
            }
        )
        self.layers = ModuleDict(
            {
                name: torch.nn.ModuleList(
                    _Layer(channels) for _ in range(num_layers)
                )
                for name in in_channels
            }
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for table in self.preferences.values():
            assert isinstance(table, torch.nn.Embedding)
            torch.nn.init.xavier_uniform_(table.weight)
        for projection in self.projections.values():
            glorot(projection.weight)
        reset(self.layers)

    def encode(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Embeddings:
        r"""Computes the sums of the representations of all modalities."""
        ids = self.id_embeddings(data)
        users: List[Tensor] = []
        items: List[Tensor] = []
        for name in self.modalities:
            *_, pair = self._pairs(name, ids, data)
            users.append(pair[0])
            items.append(pair[1])
        emb = torch.stack(users).sum(dim=0), torch.stack(items).sum(dim=0)
        return Embeddings(*emb).rows(user, item)

    def fold_in_state(self, data: HeteroData) -> Dict[str, List[Tensor]]:
        r"""Returns the messages from items to users in each layer."""
        ids = self.id_embeddings(data)
        return {
            name: [
                layer.messages(pair[1], data["item"].degree)
                for layer, pair in zip(
                    self._layers(name),
                    self._pairs(name, ids, data),
                    strict=False,
                )
            ]
            for name in self.modalities
        }

    def encode_new_users(
        self, state: Dict[str, List[Tensor]], data: HeteroData
    ) -> Tensor:
        r"""Computes the sums of the representations of new users."""
        user_id = user_rows(self.user_embedding, data)
        users = []
        for name in self.modalities:
            user = self._preference(name, data)
            for layer, messages in zip(
                self._layers(name), state[name], strict=True
            ):
                user = layer.receive(messages, user, user_id, data, "user")
            users.append(user)
        return torch.stack(users).sum(dim=0)

    def _preference(self, name: str, data: HeteroData) -> Tensor:
        table = self.preferences[name]
        assert isinstance(table, torch.nn.Embedding)
        return F.normalize(user_rows(table, data), dim=-1)

    def _layers(self, name: str) -> List["_Layer"]:
        layers = self.layers[name].children()
        return [layer for layer in layers if isinstance(layer, _Layer)]

    def _pairs(self, name: str, ids: Pair, data: HeteroData) -> Iterator[Pair]:
        """Yields the input of the first layer and the output of each layer."""
        x = self.projections[name](data["item"][f"x_{name}"])
        pair = self._preference(name, data), F.normalize(x, dim=-1)
        yield pair
        for layer in self._layers(name):
            pair = layer(pair, ids, data)
            yield pair

    def loss(
        self, data: HeteroData, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        r"""Computes the ranking loss and the L2 term."""
        user_emb, item_emb = self.encode(data)
        rank = self.rank_rows(
            data,
            user,
            F.embedding(user, user_emb),
            F.embedding(pos_item, item_emb),
            F.embedding(neg_item, item_emb),
        )
        preferences = [table(user) for table in self.preferences.values()]
        rows = self.id_rows(data, user, pos_item, neg_item)
        return {
            self.rank_loss.name: rank,
            "reg": self.l2_loss(*rows, *preferences),
        }


class _Layer(torch.nn.Module):
    """A layer for one modality."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin_neighbor = torch.nn.Linear(channels, channels, bias=False)
        self.lin_self = torch.nn.Linear(channels, channels, bias=False)
        self.lin_out = torch.nn.Linear(2 * channels, channels, bias=False)

    def reset_parameters(self) -> None:
        for lin in (self.lin_neighbor, self.lin_self, self.lin_out):
            glorot(lin.weight)

    def forward(self, xs: Pair, ids: Pair, data: HeteroData) -> Pair:
        """Updates users and items, given representations and ID embeddings."""
        of_users = self.messages(xs[0], data["user"].degree)
        of_items = self.messages(xs[1], data["item"].degree)
        return (
            self.receive(of_items, xs[0], ids[0], data, "user"),
            self.receive(of_users, xs[1], ids[1], data, "item"),
        )

    def messages(self, x: Tensor, degree: Tensor) -> Tensor:
        """Returns the messages that nodes send."""
        # D^-1 A is D^-1/2 (D^-1/2 A D^-1/2) D^1/2:
        return self.lin_neighbor(x) * degree.sqrt().view(-1, 1)

    def receive(
        self,
        messages: Tensor,
        x: Tensor,
        node_id: Tensor,
        data: HeteroData,
        node_type: str,
    ) -> Tensor:
        """Updates the nodes of a type by the messages of the others."""
        total = interaction_step(data, node_type, messages)
        root = data[node_type].degree.sqrt().view(-1, 1)
        x = F.leaky_relu(self.lin_self(x)) + node_id
        h = F.leaky_relu(total / root.clamp(min=1))
        return F.leaky_relu(self.lin_out(torch.cat([h, x], dim=-1)))

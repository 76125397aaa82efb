from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.conv import InteractionPropagation
from tmfun_pyg.nn.models.embedding_model import EmbeddingModel, user_rows


class PropagationModel(EmbeddingModel):
    r"""A model whose user embeddings come from propagation over the user-item
    graph, so that new users only need the sums of their items.
    """

    propagation: InteractionPropagation

    def fold_in_state(self, data: HeteroData) -> Tensor:
        r"""Returns the messages that users receive from their items."""
        return self.propagation.item_sums(*self.id_embeddings(data), data)

    def encode_new_users(self, state: Tensor, data: HeteroData) -> Tensor:
        r"""Computes the embeddings of new users."""
        user_id = user_rows(self.user_embedding, data)
        return self.propagation.new_users(user_id, state, data)

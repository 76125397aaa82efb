from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor


class EmbeddingTable(torch.nn.Embedding):
    r"""The ID embeddings of users or items, behind the one seam through which
    models read them. A table that lies elsewhere, such as sharded over
    machines, takes its place by the same two methods:

    * :meth:`forward` returns the rows of an index, or all rows for
      :obj:`None`. Training on sampled neighborhoods asks for rows only.
    * :meth:`reset_parameters` draws the initial values.

    Args:
        num_embeddings (int): The number of users or items.
        embedding_dim (int): Size of each embedding.
        sparse (bool, optional): If set to :obj:`True`, the gradient of rows
            asked for is sparse, so that neither it nor the optimizer's step
            grows with the table; see :class:`torch.optim.SparseAdam`.
            (default: :obj:`False`)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, sparse: bool = False
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, sparse=sparse)

    def reset_parameters(self) -> None:
        r"""Resets the embeddings to values by Xavier Glorot."""
        torch.nn.init.xavier_uniform_(self.weight)

    def forward(self, index: Optional[Tensor] = None) -> Tensor:
        r"""Returns embeddings.

        Args:
            index (torch.Tensor, optional): The rows to return, all of them if
                not given. (default: :obj:`None`)
        """
        if index is None:
            return self.weight
        return F.embedding(index, self.weight, sparse=self.sparse)

from typing import List, NamedTuple, Tuple

from torch import Tensor

Pair = Tuple[Tensor, Tensor]


class TMFUNEncoding(NamedTuple):
    r"""What :meth:`tmfun_pyg.nn.TMFUN.encode` returns. Pairs are of users and
    items.

    Args:
        user (torch.Tensor): The embeddings of the users asked for.
        item (torch.Tensor): The embeddings of the items asked for.
        collaborative ((torch.Tensor, torch.Tensor)): Their part from
            interactions alone, :math:`\mathbf{X}^c`.
        content ((torch.Tensor, torch.Tensor)): Their part from content,
            :math:`\mathbf{Z}`.
        mask ((torch.Tensor, torch.Tensor)): Which sources they have.
        weight ((torch.Tensor, torch.Tensor)): The weights of the modalities in
            the early step, of shape :obj:`[num_rows, num_modalities]`.
        id_emb ((torch.Tensor, torch.Tensor)): The ID embeddings of all nodes.
        sources (List[torch.Tensor]): The sources of all items,
            :math:`\mathbf{H}_m` and :math:`\mathbf{H}`.
    """

    user: Tensor
    item: Tensor
    collaborative: Pair
    content: Pair
    mask: Pair
    weight: Pair
    id_emb: Pair
    sources: List[Tensor]

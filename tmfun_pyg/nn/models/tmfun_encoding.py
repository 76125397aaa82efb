from typing import List, NamedTuple, Tuple

from torch import Tensor

Pair = Tuple[Tensor, Tensor]


class TMFUNEncoding(NamedTuple):
    r"""The output of :meth:`tmfun_pyg.nn.TMFUN.encode`. Pairs hold users and
    items.

    Args:
        user (torch.Tensor): The embeddings of the requested users.
        item (torch.Tensor): The embeddings of the requested items.
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

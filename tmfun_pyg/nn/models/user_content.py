"""Content of users: means over their items."""

from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.transforms.to_rec_graph import item_weight
from tmfun_pyg.utils.csr import entries_of
from tmfun_pyg.utils.interaction_step import interaction_step
from tmfun_pyg.utils.pair_index import PairIndex
from tmfun_pyg.utils.spmm import spmm


def user_content(
    data: HeteroData,
    sources: Sequence[Tensor],
    user: Optional[Tensor] = None,
    exclude: Optional[Tensor] = None,
    means: Optional[Sequence[Tensor]] = None,
) -> Tuple[List[Tensor], Tensor]:
    r"""Returns the means over a user's items that have content, zero if there
    are none, and whether there are any.

    With :obj:`exclude`, the mean :math:`\bar{\mathbf{x}}` over :math:`n` items
    becomes that over the others, :math:`(n \bar{\mathbf{x}} - \mathbf{x}_i) /
    (n - 1)`.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        sources (List[torch.Tensor]): Representations of the items, of shape
            :obj:`[num_items, channels]`, in the order of the columns of
            :obj:`data['item'].mask`, which say which items have content.
        user (torch.Tensor, optional): The users, of shape :obj:`[num_rows]`,
            all of them if not given. (default: :obj:`None`)
        exclude (torch.Tensor, optional): An item per user to leave out if the
            user has it, of shape :obj:`[num_rows]`. (default: :obj:`None`)
        means (List[torch.Tensor], optional): The means of all users, if
            already known. (default: :obj:`None`)

    Raises:
        ValueError: If :obj:`exclude` is given without :obj:`user`.

    Returns:
        The means, one for each source, and a mask with a column for each
        source, like :obj:`data['user'].mask`.
    """
    mask = data["user"].mask
    if user is None:
        if exclude is not None:
            raise ValueError("'exclude' needs the 'user' of each entry")
        return list(means or _means(data, sources)), mask
    mask = F.embedding(user, mask)
    if means is not None:
        means = [F.embedding(user, mean) for mean in means]
    elif _has_few_entries(data, user):
        means = _means_of_rows(data, sources, user)
    else:
        means = _means(data, sources, user)
    if exclude is None:
        return means, mask
    share = _share_of(data, user, exclude)
    # A share of 1 leaves nothing, 1/2 leaves one other item:
    is_left = share < 0.75
    mask = mask & is_left
    # (mean - share * x) / (1 - share), zero if nothing is left:
    scale = mask / (1 - share).where(is_left, 1.0)
    columns = scale.unbind(dim=1), (scale * share).unbind(dim=1)
    means = [
        torch.addcmul(
            mean * own.view(-1, 1),
            F.embedding(exclude, x),
            other.view(-1, 1),
            value=-1,
        )
        for mean, x, own, other in zip(means, sources, *columns, strict=False)
    ]
    return means, mask


def _means(
    data: HeteroData, sources: Sequence[Tensor], user: Optional[Tensor] = None
) -> List[Tensor]:
    """Returns the means of all users, or of some of them."""
    scale = data["user"].scale
    if user is not None:
        scale = F.embedding(user, scale)
    # Single-column matrices:
    columns = (
        x[:, : len(sources)].t().unsqueeze(2).contiguous()
        for x in (item_weight(data), scale)
    )
    means = []
    for x, weight, own in zip(sources, *columns, strict=True):
        mean = interaction_step(data, "user", x * weight)
        if user is None:
            mean.mul_(own)
        else:  # Frees the other rows before the next source.
            mean = F.embedding(user, mean) * own
        means.append(mean)
    return means


def _means_of_rows(
    data: HeteroData, sources: Sequence[Tensor], user: Tensor
) -> List[Tensor]:
    """Returns the means of some users, from their rows alone."""
    store = data["user", "interacts", "item"]
    # If nothing is missing, all columns are the same:
    columns = slice(1 if data.is_complete else len(sources))
    (ptr, index), _ = store.edge_index.get_csr()
    row, entry = entries_of(ptr, user)
    item = index.index_select(0, entry)
    edge_index = EdgeIndex(
        torch.stack([row, item]),
        sparse_size=(user.numel(), data["item"].num_nodes),
        sort_order="row",
    )
    scale = data["user"].scale[:, columns].index_select(0, user)
    weight = store.edge_weight.index_select(0, entry).view(-1, 1)
    weight = weight * scale.index_select(0, row)
    weight = weight * item_weight(data, item)[:, columns]
    weights = list(weight.t().contiguous())
    if data.is_complete:
        weights *= len(sources)
    return [
        spmm(edge_index, x, w) for x, w in zip(sources, weights, strict=True)
    ]


def _has_few_entries(data: HeteroData, user: Tensor) -> bool:
    """Whether computing only the rows of some users is faster than the whole
    product.

    On a GPU it never is: the host would wait for the device longer than the
    whole product takes.
    """
    if user.is_cuda:
        return False
    (ptr, index), _ = data["user", "interacts", "item"].edge_index.get_csr()
    count = ptr.index_select(0, user + 1) - ptr.index_select(0, user)
    # The whole product also weights all items:
    return 2 * int(count.sum()) < index.numel() + data["item"].num_nodes


def _share_of(data: HeteroData, user: Tensor, item: Tensor) -> Tensor:
    """Returns the share of an item in the means of a user."""
    store = data["user", "interacts", "item"]
    row, col = store.edge_index.as_tensor()
    pairs = PairIndex(row, col, data["item"].num_nodes)
    place, is_there = pairs.find(user, item)
    weight = store.edge_weight.index_select(0, place) * is_there
    share = F.embedding(user, data["user"].scale)
    share = share * item_weight(data, item)
    return share * weight.view(-1, 1)

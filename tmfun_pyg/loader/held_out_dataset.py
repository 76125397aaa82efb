from typing import Optional, Tuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.edges import check_pairs, plain_edges
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.retrieval import candidate_items, user_blocks
from tmfun_pyg.utils.user_items import UserItems


class HeldOutDataset(Dataset[Tuple[Tensor, Tensor]]):
    r"""The held-out interactions of a split, in blocks of users to rank.

    An entry is a pair :obj:`(user, edge_label_index)`: the users of the block,
    of shape :obj:`[block_size]`, and their held-out interactions, pairs of a
    position in :obj:`user` and an item, of shape :obj:`[2, num_held_out]`.

    Users without held-out interactions cannot be evaluated, and users without
    training interactions have no learned embedding: both are left out.

    With several processes, each holds its own blocks, and no user is in two of
    them. All hold the same number of blocks, some perhaps empty, so that none
    waits for a process that has already finished.

    Args:
        data (HeteroData): The data set, with the training interactions in
            :obj:`data["user", "interacts", "item"].edge_index` and the
            held-out ones in :obj:`<split>_edge_label_index` there.
        split (str): The split, :obj:`"val"`, :obj:`"test"` or any other that
            :obj:`data` has.
        batch_size (int, optional): The number of users in a block. If not
            given, the scores of a block take about 32 MiB.
            (default: :obj:`None`)
        device (torch.device, optional): The device of the interactions. If not
            given, uses the device of :obj:`data`. (default: :obj:`None`)
        num_replicas (int, optional): The number of processes.
            (default: :obj:`1`)
        rank (int, optional): The rank of this process. (default: :obj:`0`)
        items (torch.Tensor, optional): The items to rank, as indices or as a
            mask. If given, the items of an entry are their positions among
            these in ascending order; if not, all items are ranked.
            (default: :obj:`None`)
        users (torch.Tensor, optional): The indices of the users to evaluate.
            If not given, evaluates all users who can be.
            (default: :obj:`None`)

    Raises:
        ValueError: If the split is missing, has no user to evaluate, repeats a
            pair, or has a training pair or items that are not in :obj:`items`;
            if :obj:`users` has a user that cannot be evaluated; or if
            :obj:`rank` or :obj:`items` is out of range.
    """

    def __init__(
        self,
        data: HeteroData,
        split: str,
        batch_size: Optional[int] = None,
        device: Optional[torch.device] = None,
        num_replicas: int = 1,
        rank: int = 0,
        items: Optional[Tensor] = None,
        users: Optional[Tensor] = None,
    ) -> None:
        if batch_size is not None:
            check_count("batch_size", batch_size)
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"'rank' must be from 0 to {num_replicas - 1} (got {rank})"
            )
        interactions = data["user", "interacts", "item"]
        name = f"{split}_edge_label_index"
        if name not in interactions:
            there = [
                key.removesuffix("_edge_label_index")
                for key in interactions.keys()  # noqa: SIM118 (no plain dict)
                if key.endswith("_edge_label_index")
            ]
            raise ValueError(
                f"'data' holds no '{name}' at ('user', 'interacts', 'item'): "
                f"'split' must be one of {there} (got {split!r})"
            )
        num_users = data["user"].num_nodes
        num_items = data["item"].num_nodes
        where = f"data['user', 'interacts', 'item'].{name}"
        size = num_users, num_items
        held_out = check_pairs(where, interactions[name].to(device), size)
        trained = plain_edges(interactions.edge_index).long().to(device)
        key, own = (x[0] * num_items + x[1] for x in (trained, held_out))
        if (num_both := int(torch.isin(own, key).sum())) > 0:
            raise ValueError(
                f"{where} must hold no pair of edge_index, which cannot be "
                f"found (got {num_both})"
            )
        if items is not None:
            index, place = candidate_items(items.to(held_out.device), num_items)
            other = held_out[1][place[held_out[1]] < 0]
            if other.numel() > 0:
                raise ValueError(
                    f"The {split} split holds {other.numel()} interactions "
                    f"with items that are not in 'items', such as "
                    f"{int(other[0])}"
                )
            held_out = torch.stack([held_out[0], place[held_out[1]]])
            num_items = index.numel()
        self._held_out = UserItems.from_edge_index(held_out, num_users)
        is_judged = self._held_out.rowptr.diff() > 0
        is_trained = torch.bincount(trained[0], minlength=num_users) > 0
        user = (is_judged & is_trained).nonzero().view(-1)
        if user.numel() == 0:
            raise ValueError(
                f"No user of the {split} split has both a training and a "
                f"held-out interaction: there is nothing to evaluate"
            )
        if users is not None:
            user = _choose(users.to(user.device), user, split)
        #: The evaluated users of all processes, ascending.
        self.users = user
        #: Their number.
        self.num_users = user.numel()
        blocks = [*user_blocks(user, num_items, batch_size)]
        blocks += [user[:0]] * (-len(blocks) % num_replicas)
        self._blocks = blocks[rank::num_replicas]

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> Tuple[Tensor, Tensor]:
        user = self._blocks[index]
        return user, torch.stack(self._held_out.edges_of(user))


def _choose(users: Tensor, judged: Tensor, split: str) -> Tensor:
    """Checks the requested users, and sorts them."""
    if users.dtype != torch.long or users.dim() != 1 or users.numel() == 0:
        raise ValueError(
            f"'users' must be a vector of indices (got {users.dtype} of shape "
            f"{list(users.shape)})"
        )
    users = users.unique()
    other = users[~torch.isin(users, judged)]
    if other.numel() > 0:
        raise ValueError(
            f"'users' must have both a training interaction and a held-out "
            f"one of the {split} split (got {other.numel()} others, such as "
            f"{int(other[0])})"
        )
    return users

import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.neighbor_score import NeighborScore
from tmfun_pyg.nn.models.score_weights import fit_softmax, softmax_loss
from tmfun_pyg.utils.edges import reverse
from tmfun_pyg.utils.pair_index import PairIndex
from tmfun_pyg.utils.schema import INTERACTS, REVERSE

# The number of users, and of items to compare each one's choice with:
NUM_USERS, NUM_OTHERS = 2**14, 64
SHARE = 0.1  # The maximum share of interactions to hold out.
BLOCK = 2**10  # The number of users to score at once.
NEVER = -1e4  # Rules an item out, however small the weight.


@torch.no_grad()
def neighbor_gain(data: HeteroData, k: int) -> float:
    r"""Returns how much better a :class:`~tmfun_pyg.nn.NeighborScore` and
    popularity explain a user's choice than popularity alone (our reading). For
    a sample of users, one item :math:`i` each is held out, neighbors and
    popularity are computed from the rest, and

    .. math::
        \ell(w, b) = - \frac{1}{|\mathcal{U}|} \sum_{u \in \mathcal{U}} \log
        \frac{\exp(s_{ui})}{\exp(s_{ui}) + \sum_j \exp(s_{uj})}, \qquad
        s_{ui} = w \, \hat{y}_{ui} + b \log(1 + |\mathcal{U}_i|)

    where :math:`\mathcal{U}` are these users, :math:`\hat{y}` has weight one,
    and 64 items :math:`j` are sampled for each, of which the user's own do not
    count. The gain is :math:`\min_b \ell(0, b) - \min_{w, b} \ell(w, b)`, with
    :math:`b \geq 0.1` in both and :math:`w \geq 0.1` in the second, so that it
    may be slightly negative.

    It is a mean over users, as in metrics. In a mean over interactions, a few
    very active users can make a score look useful that does not help others.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        k (int): The number of neighbors of an item.

    Returns:
        The gain in nats, over up to 16,384 of the users with two items or
        more, and at most a tenth of the interactions; zero if no user is left.
    """
    edge_index = data[INTERACTS].edge_index
    device = edge_index.device
    (rowptr, col), _ = edge_index.get_csr()
    count = rowptr.diff()
    generator = torch.Generator().manual_seed(0)

    user = (count > 1).nonzero().view(-1)
    size = min(NUM_USERS, int(SHARE * col.numel()))
    drawn = torch.randperm(user.numel(), generator=generator)[:size]
    user = user[drawn.to(device)]
    if user.numel() == 0:
        return 0.0
    # Single precision is too coarse for the items of a long row:
    place = torch.rand(user.numel(), generator=generator, dtype=torch.double)
    held = rowptr[user] + (place.to(device) * count[user]).long()
    is_left = torch.ones_like(col, dtype=torch.bool)
    is_left[held] = False

    # The rest stays sorted, and needs no weights:
    rest = HeteroData()
    left = EdgeIndex(
        edge_index.as_tensor()[:, is_left],
        sparse_size=edge_index.sparse_size(),
        sort_order="row",
    )
    rest[INTERACTS].edge_index = left
    rest[REVERSE].edge_index = EdgeIndex(
        reverse(left.as_tensor()),
        sparse_size=edge_index.sparse_size()[::-1],
        sort_order="row",
    )
    for edge_type in (INTERACTS, REVERSE):
        (ptr, _), _ = rest[edge_type].edge_index.get_csr()
        rest[edge_type[0]].degree = ptr.diff()
    warm = (rest["item"].degree > 0).nonzero().view(-1)
    other = torch.randint(
        warm.numel(), (user.numel(), NUM_OTHERS), generator=generator
    )
    item = torch.cat([col[held].view(-1, 1), warm[other.to(device)]], dim=1)

    num_items = edge_index.get_sparse_size(1)
    near = NeighborScore(num_items, k).to(device)
    near.fit(rest)
    row, column = left.as_tensor()
    pairs = PairIndex(row, column, num_items)
    scores = [
        (near.similarity[i] * pairs.holds(u, near.neighbor[i])).sum(dim=2)
        for u, i in zip(
            user.view(-1, 1, 1).split(BLOCK), item.split(BLOCK), strict=True
        )
    ]
    score = torch.cat(scores) / rest["user"].degree[user].sqrt().view(-1, 1)
    is_own = pairs.holds(user.view(-1, 1), item) | (item == item[:, :1])
    is_own[:, 0] = False
    popularity = rest["item"].degree.double().log1p()[item]
    popularity.masked_fill_(is_own, NEVER)

    alone = popularity.unsqueeze(0)
    both = torch.stack([popularity, score.double()])
    before, after = (
        softmax_loss(fit_softmax(parts), parts) for parts in (alone, both)
    )
    return float(before - after)

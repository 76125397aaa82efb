"""The weights of direct scores, fitted before training."""

from typing import Callable, Sequence

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.edges import plain_edges

# How many interactions, and negative items for each, the weights are fitted
# to:
NUM_FITTED, NUM_NEGATIVES = 2**14, 64
LEAST = 0.1  # A weight from which training can still raise it.
LEAST_GAIN = 0.07  # Of a score that says something to most users, in nats.
# A weight that is nearer to that is at the bound; a step that gains less is
# the last one: scores that tell all apart have no best weight.
NEAR, ENOUGH = 1e-3, 1e-6
MAX_STEPS, MAX_HALVES = 50, 20

# Takes the graph, users, an item of each, and items to compare with; returns
# scores of weight one, of shape [num_weights, num_rows, 1 + num_negatives].
Scores = Callable[[HeteroData, Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def fit_weights(
    data: HeteroData,
    scores: Sequence[Scores],
    log_weights: Sequence[torch.nn.Parameter],
) -> None:
    r"""Brings weights to where scores explain the interactions best, by a
    softmax over an interaction and 64 items drawn at random, at least to 0.1.
    Training would not find them: IDs learn faster.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        scores (List[callable]): The scores.
        log_weights (List[torch.nn.Parameter]): The logarithms of the weights
            of each.
    """
    user, item = plain_edges(data["user", "interacts", "item"].edge_index)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(user.numel(), generator=generator)[:NUM_FITTED]
    drawn = drawn.to(user.device)
    user, item = user[drawn], item[drawn]
    other = _draw_others(data, generator)
    parts = torch.cat([score(data, user, item, other) for score in scores])
    sizes = [log_weight.numel() for log_weight in log_weights]
    found = _fit(parts.double()).log().split(sizes)
    for log_weight, value in zip(log_weights, found, strict=True):
        log_weight.copy_(value)


@torch.no_grad()
def gain_by_user(data: HeteroData, score: Scores) -> float:
    r"""Returns how much better a score and the popularity of items explain the
    choices of a user than popularity alone. Where a few users have most of the
    interactions, a score may explain these and say nothing to all others.
    Metrics are means over users, and so is this:

    .. math::
        \min_{b} \ell(0, b) - \min_{w, b} \ell(w, b), \qquad \ell(w, b) =
        - \frac{1}{|\mathcal{U}|} \sum_{u \in \mathcal{U}} \log
        \frac{\exp(s_{ui})}{\exp(s_{ui}) + \sum_j \exp(s_{uj})}, \qquad
        s_{ui} = w \, \hat{y}_{ui} + b \log(1 + |\mathcal{U}_i|)

    with an item :math:`i` of each user, who is no member of
    :math:`\mathcal{U}_i`, 64 items :math:`j` drawn at random, and weights of
    at least 0.1.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        score (callable): The score.

    Returns:
        The gain in nats, over up to 16,384 of the users with two items or
        more; zero if there are none.
    """
    edge_index = data["user", "interacts", "item"].edge_index
    (rowptr, col), _ = edge_index.get_csr()
    count = rowptr.diff()
    generator = torch.Generator().manual_seed(0)
    user = (count > 1).nonzero().view(-1)
    if user.numel() == 0:
        return 0.0
    drawn = torch.randperm(user.numel(), generator=generator)[:NUM_FITTED]
    user = user[drawn.to(user.device)]
    # Single precision has no place for each item of a long row:
    place = torch.rand(user.numel(), generator=generator, dtype=torch.double)
    place = (place.to(user.device) * count[user]).long()
    item = col[rowptr[user] + place]
    other = _draw_others(data, generator)
    degree = data["item"].degree.double()
    of_item = degree[item].log().view(-1, 1)
    of_other = degree[other].log1p().expand(item.numel(), -1)
    alone = torch.cat([of_item, of_other], dim=1).unsqueeze(0)
    both = torch.cat([alone, score(data, user, item, other).double()])
    return float(_loss(_fit(alone), alone) - _loss(_fit(both), both))


def _draw_others(data: HeteroData, generator: torch.Generator) -> Tensor:
    """Draws the items to compare with."""
    warm = (data["item"].degree > 0).nonzero().view(-1)
    other = torch.randint(warm.numel(), (NUM_NEGATIVES,), generator=generator)
    return warm[other.to(warm.device)]


def _loss(weight: Tensor, parts: Tensor) -> Tensor:
    logit = torch.einsum("m,mbn->bn", weight, parts)
    return -logit.log_softmax(dim=1)[:, 0].mean()


def _fit(parts: Tensor) -> Tensor:
    """Returns the weights for which the first column wins the most. The loss
    is convex in them: Newton's method, within the bound.
    """
    weight = parts.new_ones(len(parts))
    value = _loss(weight, parts)
    for _ in range(MAX_STEPS):
        share = torch.einsum("m,mbn->bn", weight, parts).softmax(dim=1)
        mean = (share * parts).sum(dim=2)
        grad = (mean - parts[:, :, 0]).mean(dim=1)
        square = torch.einsum("mbn,kbn,bn->mk", parts, parts, share)
        hessian = (square - mean @ mean.t()) / parts.size(1)
        # Those at the bound that would fall below it stay there:
        free = ((weight > LEAST + NEAR) | (grad < 0)).to(parts)
        hessian = hessian * free * free.view(-1, 1)
        # Scores that are the same are weighted alike:
        inverse = torch.linalg.pinv(hessian, hermitian=True, rtol=1e-9)
        step = inverse @ (grad * free)
        for _ in range(MAX_HALVES):
            moved = (weight - step).clamp(min=LEAST)
            moved_value = _loss(moved, parts)
            if moved_value < value:
                break
            step = step / 2
        else:
            break  # At the minimum.
        gain = value - moved_value
        weight, value = moved, moved_value
        if gain < ENOUGH:
            break
    return weight

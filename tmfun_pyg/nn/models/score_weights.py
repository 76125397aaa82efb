"""The weights of direct scores, fitted before training."""

from typing import Callable, Sequence

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.edges import plain_edges

# The number of interactions to fit to, and of negative items they share:
NUM_FITTED, NUM_NEGATIVES = 2**14, 64
LEAST = 0.1  # Training can still raise a weight that starts here.
# A weight closer to LEAST than NEAR is at the bound. A step that gains less
# than ENOUGH is the last one: perfectly separating scores have no best weight.
NEAR, ENOUGH = 1e-3, 1e-6
MAX_STEPS, MAX_HALVES = 50, 20

# Takes the graph, users, an item per user, and items to compare with; returns
# unweighted scores of shape [num_weights, num_rows, 1 + num_negatives].
Scores = Callable[[HeteroData, Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def fit_weights(
    data: HeteroData,
    scores: Sequence[Scores],
    log_weights: Sequence[torch.nn.Parameter],
) -> None:
    r"""Sets weights such that scores explain the interactions best, in a
    softmax over an interaction and 64 random items that all of them share, but
    to at least 0.1.
    Training would not find them: IDs learn faster.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        scores (List[callable]): The scores.
        log_weights (List[torch.nn.Parameter]): The logarithms of their
            weights.
    """
    user, item = plain_edges(data["user", "interacts", "item"].edge_index)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(user.numel(), generator=generator)[:NUM_FITTED]
    drawn = drawn.to(user.device)
    user, item = user[drawn], item[drawn]
    warm = (data["item"].degree > 0).nonzero().view(-1)
    other = torch.randint(warm.numel(), (NUM_NEGATIVES,), generator=generator)
    other = warm[other.to(warm.device)]
    parts = torch.cat([score(data, user, item, other) for score in scores])
    sizes = [log_weight.numel() for log_weight in log_weights]
    found = fit_softmax(parts.double()).log().split(sizes)
    for log_weight, value in zip(log_weights, found, strict=True):
        log_weight.copy_(value)


def softmax_loss(weight: Tensor, parts: Tensor) -> Tensor:
    r"""Returns the mean negative log-softmax of the first column.

    Args:
        weight (torch.Tensor): The weights of the scores, of shape
            :obj:`[num_scores]`.
        parts (torch.Tensor): The scores, of shape
            :obj:`[num_scores, num_rows, 1 + num_others]`.
    """
    logit = torch.einsum("m,mbn->bn", weight, parts)
    return -logit.log_softmax(dim=1)[:, 0].mean()


def fit_softmax(parts: Tensor) -> Tensor:
    r"""Returns the weights that minimize :func:`softmax_loss`, at least 0.1
    each. The loss is convex in them, so it uses Newton's method within bounds.

    Args:
        parts (torch.Tensor): The scores, in double precision.
    """
    weight = parts.new_ones(len(parts))
    value = softmax_loss(weight, parts)
    for _ in range(MAX_STEPS):
        share = torch.einsum("m,mbn->bn", weight, parts).softmax(dim=1)
        mean = (share * parts).sum(dim=2)
        grad = (mean - parts[:, :, 0]).mean(dim=1)
        square = torch.einsum("mbn,kbn,bn->mk", parts, parts, share)
        hessian = (square - mean @ mean.t()) / parts.size(1)
        # Weights at the bound that would fall below it stay there:
        free = ((weight > LEAST + NEAR) | (grad < 0)).to(parts)
        hessian = hessian * free * free.view(-1, 1)
        # Identical scores get the same weight:
        inverse = torch.linalg.pinv(hessian, hermitian=True, rtol=1e-9)
        step = inverse @ (grad * free)
        for _ in range(MAX_HALVES):
            moved = (weight - step).clamp(min=LEAST)
            moved_value = softmax_loss(moved, parts)
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

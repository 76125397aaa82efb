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
    warm = (data["item"].degree > 0).nonzero().view(-1)
    other = torch.randint(warm.numel(), (NUM_NEGATIVES,), generator=generator)
    other = warm[other.to(warm.device)]
    parts = torch.cat([score(data, user, item, other) for score in scores])
    sizes = [log_weight.numel() for log_weight in log_weights]
    found = fit_softmax(parts.double()).log().split(sizes)
    for log_weight, value in zip(log_weights, found, strict=True):
        log_weight.copy_(value)


def softmax_loss(weight: Tensor, parts: Tensor) -> Tensor:
    r"""Returns the mean of the negative logarithms of a softmax in its first
    column.

    Args:
        weight (torch.Tensor): The weights of scores, of shape
            :obj:`[num_scores]`.
        parts (torch.Tensor): The scores, of shape
            :obj:`[num_scores, num_rows, 1 + num_others]`.
    """
    logit = torch.einsum("m,mbn->bn", weight, parts)
    return -logit.log_softmax(dim=1)[:, 0].mean()


def fit_softmax(parts: Tensor) -> Tensor:
    r"""Returns the weights of least :func:`softmax_loss`, at least 0.1 each.
    The loss is convex in them: Newton's method, within the bound.

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
        # Those at the bound that would fall below it stay there:
        free = ((weight > LEAST + NEAR) | (grad < 0)).to(parts)
        hessian = hessian * free * free.view(-1, 1)
        # Scores that are the same are weighted alike:
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

"""The weights of direct scores, fitted before training."""

import math
from typing import Callable, Sequence

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.utils.edges import plain_edges

# How many interactions, and negative items for each, the weights are fitted
# to:
NUM_FITTED, NUM_NEGATIVES = 2**14, 64
LEAST = 0.1  # A weight from which training can still raise it.

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
    fitted = parts.new_zeros(len(parts), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [fitted], max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logit = torch.einsum("m,mbn->bn", fitted.exp(), parts)
        value = -logit.log_softmax(dim=1)[:, 0].mean()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    sizes = [log_weight.numel() for log_weight in log_weights]
    found = fitted.detach().clamp(min=math.log(LEAST)).split(sizes)
    for log_weight, value in zip(log_weights, found, strict=True):
        log_weight.copy_(value)

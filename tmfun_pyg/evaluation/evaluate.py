import copy
from numbers import Integral
from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric import metrics
from torch_geometric.data import HeteroData
from torch_geometric.metrics.link_pred import LinkPredMetricData

from tmfun_pyg.evaluation.list_metrics import ListMetrics
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.utils.edges import check_graph, plain_edges
from tmfun_pyg.utils.retrieval import (
    EmbeddingScorer,
    Scorer,
    candidate_items,
    check_ranked,
    rank_block,
)
from tmfun_pyg.utils.user_items import UserItems

METRICS = {
    "recall": metrics.LinkPredRecall,
    "ndcg": metrics.LinkPredNDCG,
    "precision": metrics.LinkPredPrecision,
    "map": metrics.LinkPredMAP,
}

# What is evaluated: a model, a scorer, or embeddings.
Ranker = Union[RankingModel, Scorer, Tuple[Tensor, Tensor]]


class RankingEvaluator:
    r"""Ranks all items for blocks of users and accumulates the recall, NDCG,
    precision and mean average precision of these rankings.

    Args:
        scorer (Scorer): The scorer of the items to rank.
        seen (UserItems): The training items of every user, which are not
            ranked.
        ks (Sequence[int], optional): The lengths of the lists.
            (default: :obj:`(5, 10, 20, 50)`)
        sync (bool, optional): If set to :obj:`True`, averages over the users
            of all processes, each of which has to call :meth:`compute`.
            (default: :obj:`False`)

    Raises:
        ValueError: If :obj:`ks` is empty or holds a number below one.
    """

    def __init__(
        self,
        scorer: Scorer,
        seen: UserItems,
        ks: Sequence[int] = (5, 10, 20, 50),
        sync: bool = False,
    ) -> None:
        if (
            not isinstance(ks, Sequence)
            or len(ks) == 0
            or any(not isinstance(k, Integral) or k < 1 for k in ks)
        ):
            raise ValueError(
                f"'ks' must be a list of whole numbers of at least 1 (got {ks})"
            )
        self.scorer = scorer
        self.seen = seen
        self._max_k = max(ks)
        self._first: List[Tensor] = []  # The best score of each list.
        self._metrics = metrics.LinkPredMetricCollection(
            {
                f"{name}@{k}": metric(k)
                for name, metric in METRICS.items()
                for k in ks
            }
        ).to(scorer.device)
        if not sync:
            # Otherwise, metrics wait for all processes of a distributed run.
            for metric in self._metrics.values():
                metric.distributed_available_fn = lambda: False

    def rank(self, user: Tensor) -> Tensor:
        r"""Returns the items of the longest lists, of shape
        :obj:`[num_rows, max(ks)]`. If fewer items are left for a user, the
        list is padded with the number of items, which is not a valid index.

        Args:
            user (torch.Tensor): The users of the block.
        """
        score, item = rank_block(self.scorer, user, self._max_k, self.seen)
        self._first.append(score[:, 0])
        # The metrics number entries by row and item. A negative item would
        # count for the previous row, so pad with one that is never held out:
        return item.where(item >= 0, self.scorer.num_items)

    def update(self, user: Tensor, edge_label_index: Tensor) -> Tensor:
        r"""Ranks the items for one block of users, and returns them as
        :meth:`rank` does.

        Args:
            user (torch.Tensor): The users of the block.
            edge_label_index (torch.Tensor): Their held-out interactions, pairs
                of a position in :obj:`user` and an item, of shape
                :obj:`[2, num_held_out]`.
        """
        item = self.rank(user)
        self._metrics.update(item, edge_label_index)
        return item

    def compute(self) -> Dict[str, float]:
        r"""Returns the averages over all users, by names such as
        :obj:`"recall@20"`. Call it once, after the last block.

        Raises:
            ValueError: If scores are not finite.
        """
        self.check()
        return {k: float(v) for k, v in self._metrics.compute().items()}

    def check(self) -> None:
        r"""Checks the scores of all blocks so far.

        Raises:
            ValueError: If some are not finite.
        """
        if self._first:
            check_ranked(torch.cat(self._first))


@torch.no_grad()
def evaluate(
    model: Ranker,
    data: HeteroData,
    split: str = "test",
    ks: Sequence[int] = (5, 10, 20, 50),
    batch_size: Optional[int] = None,
    items: Optional[Tensor] = None,
    beyond_accuracy: bool = False,
    users: Optional[Tensor] = None,
) -> Dict[str, float]:
    r"""Ranks all items (or :obj:`items`) for every user of a split (or for
    :obj:`users`), and averages the metrics.

    Only a user's training items are left out of the ranking, in validation
    and test alike. Ties are broken by item index, lower ones first. Users
    without a training interaction or without a held-out one are left out of
    the averages. In a distributed run, each process that calls this evaluates
    all users on its own.

    Args:
        model (RankingModel, Scorer or (torch.Tensor, torch.Tensor)): The
            model, a scorer, or the embeddings of all users, of shape
            :obj:`[num_users, channels]`, and of all items, of shape
            :obj:`[num_items, channels]`.
        data (HeteroData): The data set with training and held-out
            interactions.
        split (str, optional): The split, :obj:`"val"`, :obj:`"test"` or any
            other whose :obj:`<split>_edge_label_index` is in :obj:`data`, such
            as those of :class:`~tmfun_pyg.transforms.HoldOutItems`.
            (default: :obj:`"test"`)
        ks (Sequence[int], optional): The lengths of the lists. They may
            exceed the number of items. (default: :obj:`(5, 10, 20, 50)`)
        batch_size (int, optional): The number of users ranked at once. If not
            given, their scores take about 32 MiB.
            (default: :obj:`None`)
        items (torch.Tensor, optional): The items to rank, as indices or as a
            mask; the split must not hold others. All items if not given.
            (default: :obj:`None`)
        beyond_accuracy (bool, optional): If set to :obj:`True`, also returns
            beyond-accuracy metrics of the same lists, see
            :class:`~tmfun_pyg.evaluation.ListMetrics`.
            (default: :obj:`False`)
        users (torch.Tensor, optional): The indices of the users to evaluate,
            such as :obj:`val_sample` of
            :class:`~tmfun_pyg.training.InteractionDataModule`. All of the
            split if not given. (default: :obj:`None`)

    Returns:
        The metrics :obj:`recall`, :obj:`ndcg`, :obj:`precision` and
        :obj:`map`, by names such as :obj:`"recall@20"`, and on request
        :obj:`coverage`, :obj:`gini`, :obj:`novelty`, :obj:`popularity`,
        :obj:`cold_share` and, for items with content, :obj:`diversity`.

    Raises:
        ValueError: If :obj:`data` is not a graph or lacks the split, if the
            model is for other numbers of users and items than :obj:`data`
            holds, if its embeddings are not finite, if the split holds items
            that are not in :obj:`items`, if :obj:`users` holds users that
            cannot be evaluated, or if an argument is out of range.
    """
    evaluator, blocks = _prepare(
        model, data, split, ks, batch_size, items, users
    )
    lists = None
    if beyond_accuracy:
        device = evaluator.scorer.device
        lists = ListMetrics.from_data(data, ks, items, device)
    for user, edge_label_index in blocks:
        item = evaluator.update(user, edge_label_index)
        if lists is not None:
            lists.update(item)
    found = evaluator.compute()
    return found if lists is None else found | lists.compute()


@torch.no_grad()
def per_user_metrics(
    model: Ranker,
    data: HeteroData,
    split: str = "test",
    k: int = 20,
    batch_size: Optional[int] = None,
    items: Optional[Tensor] = None,
) -> Dict[str, Tensor]:
    r"""Ranks all items for every user of a split, as :func:`evaluate` does,
    and returns the metrics of each user, to compare models user by user. PyG's
    metrics only keep averages.

    Args:
        model (RankingModel, Scorer or (torch.Tensor, torch.Tensor)): As in
            :func:`evaluate`.
        data (HeteroData): The data set with training and held-out
            interactions.
        split (str, optional): The split, as in :func:`evaluate`.
            (default: :obj:`"test"`)
        k (int, optional): The length of the lists. (default: :obj:`20`)
        batch_size (int, optional): The number of users ranked at once. If not
            given, their scores take about 32 MiB.
            (default: :obj:`None`)
        items (torch.Tensor, optional): The items to rank, as in
            :func:`evaluate`. (default: :obj:`None`)

    Returns:
        The evaluated users as :obj:`"user"`, ascending, and their
        :obj:`"recall"` and :obj:`"ndcg"`, all of shape
        :obj:`[num_evaluated]`.

    Raises:
        ValueError: As in :func:`evaluate`.
    """
    evaluator, blocks = _prepare(model, data, split, [k], batch_size, items)
    parts: Dict[str, List[Tensor]] = {"user": [], "recall": [], "ndcg": []}
    for user, edge_label_index in blocks:
        found = LinkPredMetricData(evaluator.rank(user), edge_label_index)
        hit, count = found.pred_rel_mat.double(), found.label_count
        place = torch.arange(2, k + 2, dtype=hit.dtype, device=hit.device)
        gain = place.log2().reciprocal()
        best = gain.cumsum(0)[count.clamp(max=k) - 1]
        parts["user"].append(user)
        parts["recall"].append(hit.sum(dim=1) / count)
        parts["ndcg"].append(hit @ gain / best)
    evaluator.check()
    return {name: torch.cat(part) for name, part in parts.items()}


def _prepare(
    model: Ranker,
    data: HeteroData,
    split: str,
    ks: Sequence[int],
    batch_size: Optional[int],
    items: Optional[Tensor],
    users: Optional[Tensor] = None,
) -> Tuple[RankingEvaluator, DataLoader[Tuple[Tensor, Tensor]]]:
    """Computes the embeddings, and cuts the users of a split into blocks."""
    scorer = to_scorer(model, data)
    for node_type, found in (
        ("user", scorer.num_users),
        ("item", scorer.num_items),
    ):
        expected = data[node_type].num_nodes
        if found != expected:
            raise ValueError(
                f"'model' must score the {expected} {node_type}s of 'data' "
                f"(got {found})"
            )
    device = scorer.device
    edge_index = data["user", "interacts", "item"].edge_index
    edge_index = plain_edges(edge_index).to(device)
    seen = UserItems.from_edge_index(edge_index, scorer.num_users)
    dataset = HeldOutDataset(
        data, split, batch_size, device, items=items, users=users
    )
    if items is not None:
        index, place = candidate_items(items.to(device), scorer.num_items)
        scorer = scorer.select(index)
        seen = seen.select(place)
    evaluator = RankingEvaluator(scorer, seen, ks)
    return evaluator, DataLoader(dataset, batch_size=None)


def to_scorer(model: Ranker, data: HeteroData) -> Scorer:
    r"""Returns the scorer of a model or of embeddings.

    Args:
        model (RankingModel, Scorer or (torch.Tensor, torch.Tensor)): A model,
            a scorer, which is returned, or embeddings of all users and items.
        data (HeteroData): The graph that the model reads.

    Raises:
        ValueError: If :obj:`data` is not a graph.
    """
    check_graph(data)
    if isinstance(model, RankingModel):
        parameter = next(model.parameters(), None)
        if parameter is not None:
            data = copy.copy(data).to(parameter.device)
        return model.scorer(model.in_own_precision(data))
    if isinstance(model, tuple):
        return EmbeddingScorer(*model)
    return model

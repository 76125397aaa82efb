from itertools import pairwise
from typing import Dict, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.content_knn import unit_features
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.edges import plain_edges
from tmfun_pyg.utils.retrieval import candidate_items, default_batch_size
from tmfun_pyg.utils.schema import is_rec_graph

LIST_METRICS = (
    "coverage",
    "gini",
    "novelty",
    "popularity",
    "cold_share",
    "diversity",
)


class ListMetrics:
    r"""Accumulates beyond-accuracy metrics of recommendation lists, which do
    not depend on whether items are relevant.

    With :math:`c_i` the number of lists that item :math:`i` of :math:`I`
    items is in, :math:`d_i` the number of its training interactions, and
    :math:`U` the number of users with training interactions:

    * :obj:`coverage`, the share of items in any list (Herlocker et al.,
      `"Evaluating Collaborative Filtering Recommender Systems"
      <https://doi.org/10.1145/963770.963772>`_, TOIS 2004),

      .. math::
          \frac{1}{I} \sum_i [c_i > 0]

    * :obj:`gini`, from 0 if all items are shown equally often to 1 if only
      one item is shown (Shani and Gunawardana, `"Evaluating
      Recommendation Systems"
      <https://doi.org/10.1007/978-0-387-85820-3_8>`_, 2011), with the items
      in ascending order of :math:`c_i`,

      .. math::
          \frac{\sum_{i=1}^{I} (2i - I - 1) \, c_i}{(I - 1) \sum_i c_i}

    * :obj:`novelty`, the self-information in bits of the items shown (Zhou et
      al., `"Solving the Apparent Diversity-Accuracy Dilemma of Recommender
      Systems" <https://doi.org/10.1073/pnas.1000488107>`_, PNAS 2010), where
      a cold item counts as if one user had it,

      .. math::
          \frac{1}{\sum_i c_i} \sum_i c_i \log_2 \frac{U}{\max(d_i, 1)}

    * :obj:`popularity`, the popularity bias: the mean number of training
      interactions of the items shown (Yin et al., `"Challenging the Long Tail
      Recommendation" <https://doi.org/10.14778/2311906.2311916>`_, VLDB
      2012),

      .. math::
          \frac{1}{\sum_i c_i} \sum_i c_i \, d_i

    * :obj:`cold_share`, the share of places that hold a cold item, one
      without a training interaction (the long tail's share of Abdollahpouri
      et al., `"Managing Popularity Bias in Recommender Systems with
      Personalized Re-Ranking" <https://arxiv.org/abs/1901.07555>`_, FLAIRS
      2019, with the cold items as the tail),

      .. math::
          \frac{1}{\sum_i c_i} \sum_i c_i \, [d_i = 0]

    * :obj:`diversity`, the mean content distance between two items of a list
      (Ziegler et al., `"Improving Recommendation Lists Through Topic
      Diversification" <https://doi.org/10.1145/1060745.1060754>`_, WWW 2005),
      over the items :math:`\mathcal{L}_u` of a list that have content, and
      then over the lists with at least two such items,

      .. math::
          1 - \frac{1}{|\mathcal{L}_u| (|\mathcal{L}_u| - 1)}
          \sum_{i \neq j \in \mathcal{L}_u} \mathbf{v}_i^{\top} \mathbf{v}_j

    For lists of full length, coverage and popularity equal PyG's
    :class:`~torch_geometric.metrics.LinkPredCoverage` and
    :class:`~torch_geometric.metrics.LinkPredAveragePopularity`. PyG's do not
    support shorter lists, such as those of users with few items left.

    Args:
        ks (Sequence[int]): The lengths of the lists.
        degree (torch.Tensor): The number of training interactions of each
            ranked item, of shape :obj:`[num_items]`.
        num_users (int): The number of users with a training interaction.
        content (torch.Tensor, optional): Item vectors whose inner products
            are similarities, zero for items without content, of shape
            :obj:`[num_items, channels]`. Without them, there is no diversity.
            (default: :obj:`None`)
    """

    def __init__(
        self,
        ks: Sequence[int],
        degree: Tensor,
        num_users: int,
        content: Optional[Tensor] = None,
    ) -> None:
        self.ks = sorted(set(ks))
        self.degree, self.num_users = degree.double(), num_users
        # One more item serves as padding:
        size = len(self.ks), len(degree) + 1
        self._count = torch.zeros(size, dtype=torch.long, device=degree.device)
        self._content = None
        if content is not None:
            self._content = F.pad(content, (0, 0, 0, 1))
            self._square = self._content.square().sum(dim=1, dtype=torch.double)
            self._diversity = self.degree.new_zeros(len(self.ks))
            self._num_diverse = self._count.new_zeros(len(self.ks))

    @classmethod
    def from_data(
        cls,
        data: HeteroData,
        ks: Sequence[int],
        items: Optional[Tensor] = None,
        device: Optional[torch.device] = None,
    ) -> "ListMetrics":
        r"""Reads popularity and content from a data set. The similarity of
        items is the mean cosine of their features, as in
        :class:`~tmfun_pyg.baselines.ContentKNN`.

        Args:
            data (HeteroData): The data set.
            ks (Sequence[int]): The lengths of the lists.
            items (torch.Tensor, optional): The ranked items, as indices or as
                a mask. (default: :obj:`None`)
            device (torch.device, optional): The device of the lists, that of
                :obj:`data` if not given. (default: :obj:`None`)
        """
        data = data if is_rec_graph(data) else ToRecGraph()(data)
        user, item = plain_edges(data["user", "interacts", "item"].edge_index)
        degree = item.bincount(minlength=data["item"].num_nodes)
        units, content = unit_features(data), None
        if units:
            content = torch.cat(units, dim=1).float() / len(units) ** 0.5
        if items is not None:
            index, _ = candidate_items(items.to(item.device), len(degree))
            degree = degree[index]
            content = content if content is None else content[index]
        content = content if content is None else content.to(device)
        return cls(ks, degree.to(device), user.unique().numel(), content)

    def update(self, item: Tensor) -> None:
        r"""Adds the lists of some users.

        Args:
            item (torch.Tensor): The items, best first, padded with the number
                of all items, of shape :obj:`[num_rows, max(ks)]`.
        """
        for place, (start, end) in enumerate(pairwise([0, *self.ks])):
            part = item[:, start:end].flatten()
            count = part.bincount(minlength=self._count.size(1))
            self._count[place:] += count
        if self._content is not None:
            # Blocks of sums are no larger than those of scores:
            for rows in item.split(default_batch_size(self._content.size(1))):
                self._add_diversity(rows, self._content)

    def _add_diversity(self, item: Tensor, content: Tensor) -> None:
        """Sums over the pairs of a list by the square of its sum, without
        holding pairs or gathered vectors in memory.
        """
        total = content.new_zeros(len(item), content.size(1))
        for place, (start, end) in enumerate(pairwise([0, *self.ks])):
            part = item[:, start:end].contiguous()
            total += F.embedding_bag(part, content, mode="sum")
            square = self._square[item[:, :end]]
            num = (square > 0).sum(dim=1)
            pairs = total.square().sum(dim=1, dtype=torch.double)
            pairs = (pairs - square.sum(dim=1)) / (num * (num - 1))
            is_diverse = num > 1
            self._diversity[place] += (1 - pairs)[is_diverse].sum()
            self._num_diverse[place] += is_diverse.sum()

    def compute(self) -> Dict[str, float]:
        r"""Returns the metrics of all lists so far, by names such as
        :obj:`"coverage@20"`; :obj:`"diversity"` only for each :obj:`k` for
        which a list has two items with content.
        """
        count = self._count[:, :-1].double()
        size = count.size(1)
        share = count / count.sum(dim=1, keepdim=True)
        rank = torch.arange(1, size + 1, device=count.device).double()
        rarity = self.num_users / self.degree.clamp(min=1)
        weight = (2 * rank - size - 1) / max(size - 1, 1)
        values = {
            "coverage": (count > 0).double().mean(dim=1),
            "gini": share.sort(dim=1).values @ weight,
            "novelty": share @ rarity.log2(),
            "popularity": share @ self.degree,
            "cold_share": share @ (self.degree == 0).double(),
        }
        if self._content is not None:
            values["diversity"] = self._diversity / self._num_diverse
        return {
            f"{name}@{k}": value
            for name, of_ks in values.items()
            for k, value in zip(self.ks, of_ks.tolist(), strict=True)
            if value == value  # NaN is the mean of no list.
        }

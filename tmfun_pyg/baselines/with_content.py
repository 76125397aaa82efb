import inspect
from typing import Any, Dict, Optional

from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.baselines.content_knn import ContentKNN
from tmfun_pyg.baselines.ease import EASE
from tmfun_pyg.baselines.gf_cf import GFCF
from tmfun_pyg.baselines.ials import IALS
from tmfun_pyg.baselines.item_knn import ItemKNN
from tmfun_pyg.baselines.rp3beta import RP3beta
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.messages import check_at_least
from tmfun_pyg.utils.retrieval import Scorer

BASES = {cls.__name__: cls for cls in (EASE, GFCF, IALS, ItemKNN, RP3beta)}


class WithContent(RankingModel):
    r"""Adds the scores of :class:`ContentKNN` to those of a method without
    content, both scaled to the same spread over the items for each user (our
    reading of a late fusion of scores):

    .. math::
        \hat{x}_{ui} = \frac{\hat{x}^{\textrm{base}}_{ui}}
        {\sigma_i(\hat{x}^{\textrm{base}}_{ui})} + w \,
        \frac{\hat{x}^{\textrm{content}}_{ui}}
        {\sigma_i(\hat{x}^{\textrm{content}}_{ui})}

    Args:
        num_users (int): The number of users.
        num_items (int): The number of items.
        base (str, optional): The class of the method without content.
            (default: :obj:`"EASE"`)
        base_options (Dict[str, Any], optional): Its options.
            (default: :obj:`None`)
        content_weight (float, optional): The weight :math:`w` of content.
            (default: :obj:`0.3`)

    Raises:
        ValueError: If an option is out of range.
    """

    needs_features = True
    reads_feature_graphs = False
    has_embeddings = False
    supports_fold_in = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        base: str = "EASE",
        base_options: Optional[Dict[str, Any]] = None,
        content_weight: float = 0.3,
    ) -> None:
        super().__init__(num_users, num_items)
        check_at_least("content_weight", content_weight, 0)
        if base not in BASES:
            raise ValueError(
                f"'base' must be one of {list(BASES)} (got '{base}')"
            )
        sizes, options = (num_users, num_items), base_options or {}
        names = [*inspect.signature(BASES[base]).parameters][len(sizes) :]
        unknown = [name for name in options if name not in names]
        if unknown:
            raise ValueError(
                f"'base_options' must hold options of {base}, {names} (got "
                f"{unknown})"
            )
        self.base = BASES[base](*sizes, **options)
        self.content = ContentKNN(*sizes)
        self.content_weight = content_weight

    def fit(self, data: HeteroData) -> None:
        r"""Fits the method without content."""
        self.base.fit(data)

    def scorer(self, data: HeteroData) -> "SumScorer":
        r"""Returns a scorer of all items."""
        return SumScorer(
            self.base.scorer(data),
            self.content.scorer(data),
            self.content_weight,
        )


class SumScorer:
    r"""Adds the scores of two scorers, each scaled to the same spread over all
    items for each user (a :class:`~tmfun_pyg.utils.retrieval.Scorer`).

    Args:
        scorer (Scorer): The first scorer.
        other (Scorer): The second scorer.
        weight (float): The weight of the second scorer.
        item (torch.Tensor, optional): The items to score. If not given, scores
            all items. (default: :obj:`None`)
    """

    def __init__(
        self,
        scorer: Scorer,
        other: Scorer,
        weight: float,
        item: Optional[Tensor] = None,
    ) -> None:
        self.scorer, self.other = scorer, other
        self.weight, self.item = weight, item
        self.num_users, self.device = scorer.num_users, scorer.device
        self.num_items = scorer.num_items if item is None else len(item)

    def score(self, user: Tensor) -> Tensor:
        r"""Returns the scores of all items for some users."""
        scores = _scale(self.scorer.score(user))
        scores += self.weight * _scale(self.other.score(user))
        return scores if self.item is None else scores[:, self.item]

    def select(self, item: Tensor) -> "SumScorer":
        r"""Returns a scorer of only some of the items."""
        return SumScorer(self.scorer, self.other, self.weight, item)


def _scale(scores: Tensor) -> Tensor:
    spread = scores.std(dim=1, correction=0, keepdim=True)
    return scores / spread.masked_fill(spread == 0, 1.0)

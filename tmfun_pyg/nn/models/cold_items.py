from typing import Any, Iterator, Tuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.embedding_model import EmbeddingModel
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.utils.schema import REVERSE
from tmfun_pyg.utils.spmm import spmm

# The penalty of the regressions, as a share of the variance of all features:
RIDGE = 1 / 256


class ColdItems:
    r"""Estimates from content who will choose cold items, those without
    training interactions. The estimates are learned in closed form from the
    warm items after training, for models that split their embeddings into
    collaborative and content parts, such as :class:`~tmfun_pyg.nn.TMFUN`. The
    equations are our reading.

    With :math:`\mathbf{F}` the features of the warm items, concatenated over
    the modalities and centered over the items that have them (a missing
    modality counts as the mean), and
    :math:`\mathbf{G} = \mathbf{F}^{\top} \mathbf{F} + \rho \, \mathrm{tr}
    (\mathbf{F}^{\top} \mathbf{F}) \, \mathbf{I}`, there are two estimates. The
    first regresses the model's item representations :math:`\mathbf{x}_j` on
    content:

    .. math::
        \hat{\mathbf{x}}_i = \bar{\mathbf{x}} + \mathbf{F}_{\mathcal{X}}^{\top}
        \mathbf{G}^{-1} \mathbf{f}_i, \qquad
        \mathbf{F}_{\mathcal{X}} = \mathbf{F}^{\top} (\mathbf{X} -
        \bar{\mathbf{x}})

    The second regresses how often two items are chosen together on the content
    of both:

    .. math::
        \mathbf{M} = \mathbf{G}^{-1} \mathbf{F}^{\top} \mathbf{C} \, \mathbf{F}
        \, \mathbf{G}^{-1}, \qquad
        c_{ij} = \sum_{u \in \mathcal{N}_i \cap \mathcal{N}_j} \frac{1}{d_u}
        \ \ (i \neq j), \qquad c_{ii} = 0

    An item does not count towards its own estimate, since a cold item must be
    found through others. The largest positive eigenvalues of
    :math:`\mathbf{M}` are kept, :math:`\mathbf{M} \approx \mathbf{B}
    \mathbf{B}^{\top}`, which gives all items and users a profile:

    .. math::
        \mathbf{v}_i = \mathbf{B}^{\top} \mathbf{f}_i, \qquad
        \mathbf{v}_u = \frac{1}{d_u} \sum_{j \in \mathcal{N}_u} \mathbf{v}_j

    With the content part :math:`\mathbf{z}_i` of its embedding, the score of a
    cold item is the mean of two products,

    .. math::
        \hat{y}_{ui} = \frac{1}{2} \left( \mathbf{x}_u^{\top}
        (\hat{\mathbf{x}}_i + \mathbf{z}_i) + s \, \mathbf{v}_u^{\top}
        \mathbf{v}_i \right) + c_{ui}

    where :math:`c_{ui}` is the score of :class:`~tmfun_pyg.nn.ContentScore`,
    and :math:`s` gives both the same spread over the warm items. The scores of
    warm items do not change. No items x items matrix is formed.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        channels (int): The maximum number of eigenvalues to keep.
    """

    @torch.no_grad()
    def __init__(self, data: HeteroData, channels: int) -> None:
        self.data = data
        self.is_cold = data["item"].degree == 0
        is_warm = ~self.is_cold.view(-1, 1)
        self._means = [
            _mean(data["item"][f"x_{name}"], is_warm & mask.view(-1, 1))
            for name, mask in self._modalities()
        ]
        content = self._content()
        warm = content * is_warm
        gram = warm.t() @ warm
        # Without any content, estimates are zero:
        penalty = (RIDGE * gram.trace()).clamp(min=1e-12)
        gram.diagonal().add_(penalty)
        self._factor = torch.linalg.cholesky(gram)

        # Products with the interactions, in double precision:
        edge_index = data["user", "interacts", "item"].edge_index
        one = content.new_ones(edge_index.size(1))
        degree = data["user"].degree.double().clamp(min=1).view(-1, 1)
        chosen = spmm(edge_index, warm, one)
        # The sum of 1 / d_u over an item's users, to remove the diagonal:
        share = spmm(data[REVERSE].edge_index, 1 / degree, one)
        together = chosen.t() @ (chosen / degree)
        together -= (warm * share).t() @ warm
        half = torch.cholesky_solve(together, self._factor)
        metric = torch.cholesky_solve(half.t(), self._factor)
        value, vector = torch.linalg.eigh((metric + metric.t()) / 2)
        # Rounding errors of zeros would be scaled up as well:
        value = value.where(value > 1e-8 * value.abs().amax(), 0.0)
        basis = (vector * value.sqrt())[:, -channels:]
        dtype = data["item"].degree.dtype
        #: The profiles of users and of items.
        self.user_profile = (chosen @ basis / degree).to(dtype)
        self.item_profile = (content @ basis).to(dtype)

    @classmethod
    def fit(cls, model: RankingModel, data: HeteroData) -> "ColdItems":
        r"""Learns from the warm items of a data set.

        Args:
            model (RankingModel): The trained model.
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.

        Raises:
            ValueError: If the model does not support it.
        """
        if not model.estimates_cold_items:
            raise ValueError(
                f"'model' must have embeddings with a collaborative and a "
                f"content part, like TMFUN (got {type(model).__name__})"
            )
        assert isinstance(model, EmbeddingModel)
        return cls(data, model.channels)

    @torch.no_grad()
    def estimate(self, encoding: Any) -> Tensor:
        r"""Returns the embeddings of all items as estimated from their
        content, :math:`\hat{\mathbf{x}}_i + \mathbf{z}_i`.

        Args:
            encoding (TMFUNEncoding): The output of the model's :meth:`encode`
                for all users and items.
        """
        x, z = encoding.collaborative[1], encoding.content[1]
        is_warm = ~self.is_cold.view(-1, 1)
        # Normal equations lose half of the digits:
        content = self._content()
        mean = (x * is_warm).sum(0, dtype=torch.double) / is_warm.sum()
        target = (x - mean) * is_warm
        weight = torch.cholesky_solve(content.t() @ target, self._factor)
        return (content @ weight + mean).to(x.dtype) + z

    @torch.no_grad()
    def extend(self, encoding: Any) -> Tuple[Tensor, Tensor]:
        r"""Returns embeddings of all users and items whose inner products
        score cold items as above, with the profiles in additional columns.

        Args:
            encoding (TMFUNEncoding): The output of the model's :meth:`encode`
                for all users and items.
        """
        estimate = self.estimate(encoding)
        width = estimate.size(1)  # Further columns are the content score.
        scale = self._scale(encoding.user[:, :width], estimate)
        is_cold = self.is_cold.view(-1, 1)
        users = torch.cat([encoding.user, self.user_profile], dim=1)
        items = [
            (0.5 * estimate).where(is_cold, encoding.item[:, :width]),
            encoding.item[:, width:],
            (0.5 * scale * self.item_profile).masked_fill(~is_cold, 0.0),
        ]
        return users, torch.cat(items, dim=1)

    @torch.no_grad()
    def extend_users(self, user_emb: Tensor, data: HeteroData) -> Tensor:
        r"""Returns embeddings of new users with their profiles in additional
        columns, as :meth:`extend` does for known users. Cold items count in
        the profiles like all others.

        Args:
            user_emb (torch.Tensor): The embeddings of the users.
            data (HeteroData): The graph of these users alone, with the same
                items.
        """
        edge_index = data["user", "interacts", "item"].edge_index
        total = spmm(edge_index, self.item_profile)
        count = data["user"].degree.clamp(min=1).view(-1, 1)
        return torch.cat([user_emb, total / count], dim=1)

    def _scale(self, user_emb: Tensor, estimate: Tensor) -> Tensor:
        """Returns the factor that scales the products of profiles to the
        spread of those of embeddings. Cold items are left out, so that they do
        not change the scores of others.
        """
        is_warm = ~self.is_cold
        wanted = _spread(user_emb, estimate[is_warm])
        found = _spread(self.user_profile, self.item_profile[is_warm])
        tiny = torch.finfo(found.dtype).tiny
        scale = (wanted / found.clamp(min=tiny)).masked_fill(found == 0, 0.0)
        return scale.to(user_emb.dtype)

    def _modalities(self) -> Iterator[Tuple[str, Tensor]]:
        masks = self.data["item"].mask.unbind(dim=1)
        return zip(self.data.modalities, masks, strict=False)

    def _content(self) -> Tensor:
        """Returns the centered features of all items, in double precision."""
        parts = [
            (self.data["item"][f"x_{name}"] - mean) * mask.view(-1, 1)
            for (name, mask), mean in zip(
                self._modalities(), self._means, strict=True
            )
        ]
        return torch.cat(parts, dim=1)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    total = (x * mask).sum(0, dtype=torch.double)
    return total / mask.sum().clamp(min=1)


def _spread(user_emb: Tensor, item_emb: Tensor) -> Tensor:
    """Returns the standard deviation of the products over the items, as a root
    mean square over the users.
    """
    user_emb, item_emb = user_emb.double(), item_emb.double()
    item_emb = item_emb - item_emb.mean(dim=0)
    of_users = user_emb.t() @ user_emb / user_emb.size(0)
    of_items = item_emb.t() @ item_emb / item_emb.size(0)
    # Rounding may turn zero negative:
    variance = (of_users * of_items).sum().clamp(min=0.0)
    return variance.sqrt()

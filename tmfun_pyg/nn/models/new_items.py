from typing import Sequence, Tuple

import torch
from torch import Tensor

from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph

# The penalty of the regressions, as a share of the variance of all features:
RIDGE = 1 / 256


class NewItems(torch.nn.Module):
    r"""What the content of new items, those without a training interaction,
    says about who will choose them, learned in closed form from the other
    items. The equations are our reading.

    With :math:`\mathbf{F}` the features of the items that are not new, all
    modalities side by side, brought to a mean of zero over the items that have
    them (a modality that an item lacks counts as the mean), and
    :math:`\mathbf{G} = \mathbf{F}^{\top} \mathbf{F} + \rho \, \mathrm{tr}
    (\mathbf{F}^{\top} \mathbf{F}) \, \mathbf{I}`, there are two estimates. The
    first regresses the representations :math:`\mathbf{x}_j` that a model has
    of items on their content:

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

    Items are left out of their own account, since a new one will have to be
    found by others. Of :math:`\mathbf{M}`, the largest positive eigenvalues
    are kept, :math:`\mathbf{M} \approx \mathbf{B} \mathbf{B}^{\top}`, which
    gives all items and users a profile:

    .. math::
        \mathbf{v}_i = \mathbf{B}^{\top} \mathbf{f}_i, \qquad
        \mathbf{v}_u = \frac{1}{d_u} \sum_{j \in \mathcal{N}_u} \mathbf{v}_j

    The second depends on the data alone and is computed once. Neither holds
    anything of the size of items times items.

    Args:
        graph (MultimodalGraph): The interactions and features. It must be a
            whole one.
        modalities (List[str]): The modalities.
        channels (int): At most how many eigenvalues are kept.
    """

    mean: Tensor
    factor: Tensor
    user_profile: Tensor
    item_profile: Tensor

    def __init__(
        self, graph: MultimodalGraph, modalities: Sequence[str], channels: int
    ) -> None:
        super().__init__()
        self.modalities = list(modalities)
        is_known = ~graph.is_new.view(-1, 1)
        means = []
        for column, name in enumerate(self.modalities):
            mask = is_known & graph.item_mask[:, column : column + 1]
            total = (graph.features(name) * mask).sum(0, dtype=torch.double)
            means.append(total / mask.sum().clamp(min=1))
        self.register_buffer("mean", torch.cat(means), persistent=False)

        content = self._content(graph)
        known = content * is_known
        gram = known.t() @ known
        # No content at all gives estimates of zero:
        penalty = (RIDGE * gram.trace()).clamp(min=1e-12)
        gram.diagonal().add_(penalty)
        factor = torch.linalg.cholesky(gram)
        self.register_buffer("factor", factor, persistent=False)

        # Products with who chose what, in the precision of the others:
        to_user = graph.to_user
        one = content.new_ones(to_user.index.numel())
        degree = to_user.ptr.diff().clamp(min=1).view(-1, 1)
        chosen = _product(to_user.adj_t, one, known)
        # The sum over an item's users of 1 / d_u, the diagonal left out:
        share = _product(to_user.adj, one, 1 / degree.double())
        together = chosen.t() @ (chosen / degree)
        together -= (known * share).t() @ known
        half = torch.cholesky_solve(together, factor)
        metric = torch.cholesky_solve(half.t(), factor)
        value, vector = torch.linalg.eigh((metric + metric.t()) / 2)
        # What rounding leaves of zero would be scaled up with all else:
        value = value.where(value > 1e-8 * value.abs().amax(), 0.0)
        basis = vector * value.sqrt()
        basis = basis[:, -channels:]
        user_profile = chosen @ basis / degree
        dtype = graph.item_degree.dtype
        self.register_buffer(
            "user_profile", user_profile.to(dtype), persistent=False
        )
        self.register_buffer(
            "item_profile", (content @ basis).to(dtype), persistent=False
        )

    @torch.no_grad()
    def forward(self, x: Tensor, graph: MultimodalGraph) -> Tensor:
        r"""Returns the first estimate :math:`\hat{\mathbf{x}}` of all items.

        Args:
            x (torch.Tensor): The representations of the items, of shape
                :obj:`[num_items, channels]`. Those of new ones are not read.
            graph (MultimodalGraph): The same as at the beginning.
        """
        is_known = ~graph.is_new.view(-1, 1)
        # Normal equations lose half of the digits:
        content = self._content(graph)
        mean = (x * is_known).sum(0, dtype=torch.double) / is_known.sum()
        target = (x - mean) * is_known
        weight = torch.cholesky_solve(
            content.t() @ target, self.factor.double()
        )
        return (content @ weight + mean).to(x.dtype)

    def extend(
        self,
        user_emb: Tensor,
        item_emb: Tensor,
        estimate: Tensor,
        is_new: Tensor,
    ) -> Tuple[Tensor, Tensor]:
        r"""Puts profiles beside embeddings. The score of a known item stays
        what it was. That of a new one becomes the mean of two products,

        .. math::
            \hat{y}_{ui} = \frac{1}{2} \left( \mathbf{x}_u^{\top}
            \hat{\mathbf{x}}_i + s \, \mathbf{v}_u^{\top} \mathbf{v}_i
            \right)

        where :math:`s` gives both the same spread, see :meth:`scale`.

        Args:
            user_emb (torch.Tensor): The embeddings of the users, of shape
                :obj:`[num_users, channels]`.
            item_emb (torch.Tensor): Those of the items, of shape
                :obj:`[num_items, channels]`.
            estimate (torch.Tensor): What those of the items should be by
                content, of the same shape.
            is_new (torch.Tensor): Which items are new, of shape
                :obj:`[num_items]`.

        Returns:
            The embeddings of users and items, with the profiles in further
            columns.
        """
        profile = self.scale(user_emb, estimate, is_new) * self.item_profile
        is_new = is_new.view(-1, 1)
        users = torch.cat([user_emb, self.user_profile], dim=1)
        items = [
            (0.5 * estimate).where(is_new, item_emb),
            (0.5 * profile).masked_fill(~is_new, 0.0),
        ]
        return users, torch.cat(items, dim=1)

    @torch.no_grad()
    def scale(
        self, user_emb: Tensor, estimate: Tensor, is_new: Tensor
    ) -> Tensor:
        r"""Returns the factor :math:`s` of the product of the profiles that
        gives it the spread of the product of the embeddings: the standard
        deviation between the items, on a quadratic mean over the users. New
        items are left out, so that none changes the scores of others.

        Args:
            user_emb (torch.Tensor): The embeddings of the users.
            estimate (torch.Tensor): What those of the items should be by
                content.
            is_new (torch.Tensor): Which items are new.
        """
        wanted = _spread(user_emb, estimate[~is_new])
        found = _spread(self.user_profile, self.item_profile[~is_new])
        tiny = torch.finfo(found.dtype).tiny
        scale = (wanted / found.clamp(min=tiny)).masked_fill(found == 0, 0.0)
        return scale.to(user_emb.dtype)

    def _content(self, graph: MultimodalGraph) -> Tensor:
        parts = []
        sizes = [graph.features(name).size(1) for name in self.modalities]
        means = self.mean.double().split(sizes)
        for column, name in enumerate(self.modalities):
            mask = graph.item_mask[:, column : column + 1]
            parts.append((graph.features(name) - means[column]) * mask)
        return torch.cat(parts, dim=1)


def _product(matrix: Tensor, value: Tensor, x: Tensor) -> Tensor:
    """Returns the product of a matrix with other entries and :obj:`x`."""
    matrix = torch.sparse_csr_tensor(
        matrix.crow_indices(),
        matrix.col_indices(),
        value,
        matrix.shape,
        check_invariants=False,
    )
    return matrix @ x


def _spread(user_emb: Tensor, item_emb: Tensor) -> Tensor:
    """Returns the standard deviation of the products between the items, on a
    quadratic mean over the users.
    """
    user_emb, item_emb = user_emb.double(), item_emb.double()
    item_emb = item_emb - item_emb.mean(dim=0)
    of_users = user_emb.t() @ user_emb / user_emb.size(0)
    of_items = item_emb.t() @ item_emb / item_emb.size(0)
    # Rounding may put what is zero below it:
    variance = (of_users * of_items).sum().clamp(min=0.0)
    return variance.sqrt()

import copy
from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.nn.models.user_content import user_content
from tmfun_pyg.utils.schema import is_sampled_batch

# The means of all users are cached up to this many numbers, 256 MiB in single
# precision. Those of a batch cost far less than the rest of the step.
KEPT = 2**26
TINY = 1e-12  # Shorter vectors have no direction.


class ContentScore(torch.nn.Module):
    r"""Scores an item by its content similarity to a user's items, with one
    weight per modality (our reading of the impact of multimodal data on
    interactions):

    .. math::
        \hat{y}_{ui} = \sum_m w_m \, \mathbf{p}_{um}^{\top} \mathbf{f}_{im},
        \qquad
        \mathbf{f}_{im} = \mathbf{B}_m^{\top} \frac{\mathbf{x}_{im} -
        \boldsymbol{\mu}_m}{\lVert \mathbf{x}_{im} - \boldsymbol{\mu}_m
        \rVert}, \qquad
        \mathbf{p}_{um} = \frac{1}{|\mathcal{N}_{um}|} \sum_{j \in
        \mathcal{N}_{um}} \mathbf{f}_{jm}

    The score is an inner product, and :meth:`forward` returns its factors.
    One number per modality can hardly overfit, and cold items are scored right
    away. :meth:`fit` computes the means :math:`\boldsymbol{\mu}_m` and leading
    singular vectors :math:`\mathbf{B}_m` of the warm items. They are part of
    the state of the module, so items added later are treated the same.

    Args:
        in_channels (Dict[str, int]): The feature size of each modality.
        max_channels (int): The maximum number of singular vectors per
            modality.
    """

    def __init__(self, in_channels: Dict[str, int], max_channels: int) -> None:
        super().__init__()
        self.modalities = list(in_channels)
        self.channels = 0
        for name, size in in_channels.items():
            self.register_buffer(_named("mean", name), torch.zeros(size))
            width = min(size, max_channels)
            basis = torch.zeros(size, width)
            self.register_buffer(_named("basis", name), basis)
            self.channels += width
        self.log_weight = torch.nn.Parameter(torch.empty(len(in_channels)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets the weights to one."""
        torch.nn.init.zeros_(self.log_weight)

    @property
    def is_fitted(self) -> bool:
        r"""Whether singular vectors have been computed."""
        return any(bool(self._state(x)[1].any()) for x in self.modalities)

    @torch.no_grad()
    def fit(self, data: HeteroData) -> None:
        r"""Computes means and singular vectors.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        is_warm = data["item"].degree > 0
        for column, name in enumerate(self.modalities):
            mean, basis = self._state(name)
            x = data["item"][f"x_{name}"]
            x = x[is_warm & data["item"].mask[:, column]].double()
            mean.copy_(x.mean(dim=0).nan_to_num())
            x = F.normalize(x - mean.double())
            _, vector = torch.linalg.eigh(x.t() @ x)
            basis.copy_(vector[:, -basis.size(1) :])

    def rows(
        self, data: HeteroData, user: Tensor, item: Tensor, other: Tensor
    ) -> Tensor:
        r"""Returns unweighted scores per modality, for one item per user that
        is left out of the user's mean, and for items shared by all users, of
        shape :obj:`[num_modalities, num_rows, 1 + num_others]`.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
            user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
            item (torch.Tensor): An item per user, of shape :obj:`[num_rows]`.
            other (torch.Tensor): The other items, of shape
                :obj:`[num_others]`.
        """
        return self._unweighted(data, user, item, other.view(1, -1), item)

    def scores(
        self,
        data: HeteroData,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        exclude: Optional[Tensor] = None,
    ) -> Tensor:
        r"""Computes the scores of the rows of a batch, of shape
        :obj:`[num_rows, 1 + num_negatives]`: the inner products of the factors
        in :meth:`forward`, without gradients of that many columns.

        Args:
            data (HeteroData): The output of :meth:`prepare`, or a sampled
                batch.
            user (torch.Tensor): The users, of shape :obj:`[num_rows]`.
            pos_item (torch.Tensor): An item per user, of shape
                :obj:`[num_rows]`.
            neg_item (torch.Tensor): Items to compare with, of shape
                :obj:`[num_rows, num_negatives]`, or one row for all users.
            exclude (torch.Tensor, optional): An item per user to leave out of
                the user's mean. (default: :obj:`None`)
        """
        scores = self._unweighted(data, user, pos_item, neg_item, exclude)
        return torch.einsum("m,mbn->bn", self.log_weight.exp(), scores)

    def _unweighted(
        self,
        data: HeteroData,
        user: Tensor,
        pos_item: Tensor,
        neg_item: Tensor,
        exclude: Optional[Tensor],
    ) -> Tensor:
        # On a GPU, "user_content" computes the means of all sampled users, and
        # there are as many of them as items:
        if is_sampled_batch(data) and not user.is_cuda:
            # Few of the sampled items are rows of the batch. Leave items
            # unprojected, and apply both projections to the users:
            unit = self._directions(data)
            profile, _ = user_content(data, unit, user, exclude)
            bases = [self._state(name)[1] for name in self.modalities]
            profile = [
                p @ basis @ basis.t()
                for p, basis in zip(profile, bases, strict=True)
            ]
        else:
            unit = self.items(data)
            profile = self._profiles(data, unit, user, exclude)
        is_shared = neg_item.size(0) == 1 < user.numel()
        size = len(unit), user.numel(), 1 + neg_item.size(1)
        scores = profile[0].new_empty(size)
        for m, (p, f) in enumerate(zip(profile, unit, strict=True)):
            scores[m, :, 0] = (p * F.embedding(pos_item, f)).sum(dim=1)
            other = F.embedding(neg_item, f)
            scores[m, :, 1:] = (
                p @ other[0].t()
                if is_shared
                else (p.unsqueeze(1) * other).sum(dim=2)
            )
        return scores

    def prepare(self, data: HeteroData) -> HeteroData:
        r"""Adds the tensors that stay constant in training to a shallow copy
        of a graph: :math:`\mathbf{f}_{im}` and, on a GPU or up to 256 MiB in
        single precision, :math:`\mathbf{p}_{um}`.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`.
        """
        data = copy.copy(data)
        unit = self.items(data)
        for name, f in zip(self.modalities, unit, strict=True):
            data["item"][f"unit_{name}"] = f
        is_small = data["user"].num_nodes * self.channels <= KEPT
        # On a GPU, "user_content" computes all of them even for a batch:
        if is_small or data["user"].mask.is_cuda:
            profile, _ = user_content(data, unit)
            for name, p in zip(self.modalities, profile, strict=True):
                data["user"][f"profile_{name}"] = p
        return data

    def items(self, data: HeteroData) -> List[Tensor]:
        r"""Returns :math:`\mathbf{f}_{im}` of the items of a graph for each
        modality, zero for those that lack it.

        Args:
            data (HeteroData): A graph of
                :class:`~tmfun_pyg.transforms.ToRecGraph`, or a sampled batch.
        """
        known = [data["item"].get(f"unit_{name}") for name in self.modalities]
        if known[0] is not None:
            return known
        bases = [self._state(name)[1] for name in self.modalities]
        found = zip(self._directions(data), bases, strict=True)
        return [direction @ basis for direction, basis in found]

    def _directions(self, data: HeteroData) -> List[Tensor]:
        """Returns the centered features of the items at unit length, zero for
        those that lack a modality.
        """
        out = []
        for column, name in enumerate(self.modalities):
            mean, _ = self._state(name)
            centered = data["item"][f"x_{name}"] - mean
            norm = centered.norm(dim=1, keepdim=True).clamp(min=TINY)
            mask = data["item"].mask[:, column : column + 1]
            out.append(centered.mul_(mask / norm))
        return out

    def forward(
        self,
        data: HeteroData,
        user: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        r"""Returns the factors of the score, :math:`w_m \mathbf{p}_{um}` of
        users and :math:`\mathbf{f}_{im}` of items, concatenated over the
        modalities.

        Args:
            data (HeteroData): The output of :meth:`prepare`, or a sampled
                batch.
            user (torch.Tensor, optional): The users, all of them if not
                given. (default: :obj:`None`)
            item (torch.Tensor, optional): The items, all of them if not given.
                (default: :obj:`None`)
            exclude (torch.Tensor, optional): An item per user to leave out of
                the user's mean. (default: :obj:`None`)
        """
        unit = self.items(data)
        users = self.users(data, unit, user, exclude)
        if item is not None:
            unit = [F.embedding(item, f) for f in unit]
        return users, torch.cat(unit, dim=1)

    def users(
        self,
        data: HeteroData,
        unit: List[Tensor],
        user: Optional[Tensor] = None,
        exclude: Optional[Tensor] = None,
    ) -> Tensor:
        r"""Returns the user factors of :meth:`forward`.

        Args:
            data (HeteroData): As in :meth:`forward`.
            unit (List[torch.Tensor]): The output of :meth:`items`.
            user (torch.Tensor, optional): As in :meth:`forward`.
                (default: :obj:`None`)
            exclude (torch.Tensor, optional): As in :meth:`forward`.
                (default: :obj:`None`)
        """
        profile = self._profiles(data, unit, user, exclude)
        weighted = [
            p * w for p, w in zip(profile, self.log_weight.exp(), strict=True)
        ]
        return torch.cat(weighted, dim=1)

    def _profiles(
        self,
        data: HeteroData,
        unit: List[Tensor],
        user: Optional[Tensor],
        exclude: Optional[Tensor],
    ) -> List[Tensor]:
        known = [
            data["user"].get(f"profile_{name}") for name in self.modalities
        ]
        means = None if known[0] is None else known
        return user_content(data, unit, user, exclude, means)[0]

    def _state(self, name: str) -> Tuple[Tensor, Tensor]:
        return (
            getattr(self, _named("mean", name)),
            getattr(self, _named("basis", name)),
        )


def _named(what: str, modality: str) -> str:
    """Names a buffer, without dots, as PyG's ModuleDict does."""
    return f"{what}_{modality.replace('.', '#')}"

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch_geometric.explain import HeteroExplanation

from tmfun_pyg.explain.contributions import Contributions
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write

Id = Union[int, str]
# Names of paths in texts and figures; the last is not a path of items.
NAMES = {
    "collaborative": "user-item graph",
    "item_graph": "item graph",
    "user_part": "user",
}


@dataclass(frozen=True, eq=False)
class Explanation(Contributions):
    r"""Explains the score of an item for a user, as returned by
    :func:`~tmfun_pyg.explain.explain`. The entries of
    :obj:`contributions` and :obj:`user_part` sum to :obj:`score`.

    Args:
        model (str): The class of the model.
        user (int): The index of the user.
        item (int): The index of the item.
        user_id (int or str): The raw id of the user.
        item_id (int or str): The raw id of the item.
        score (float): The score.
        user_part (float): The contribution of the user's own ID embedding.
        paths (List[str]): The paths by which items contribute.
        history (torch.Tensor): The indices of the user's training items, in
            descending order of their contributions, of shape
            :obj:`[num_history]`.
        history_ids (List[int or str]): Their raw ids.
        contributions (torch.Tensor): The contribution of each of them by each
            path, of shape :obj:`[num_history, num_paths]`.
        user_weights (Dict[str, float]): The weights of the modalities for the
            user in the early-step fusion, empty if the model has no content.
        item_weights (Dict[str, float]): Those for the item, empty for a
            cold item, whose embedding is estimated.
        is_cold (bool): Whether the item has no training interaction, so that
            its embedding was estimated from its content.
        is_seen (bool): Whether the user has the item already, in training,
            validation or test, so that it is not recommended.
        titles (Dict[int or str, str]): The titles of the item and of the
            user's items by raw id, empty if unknown.
    """

    model: str
    user: int
    item: int
    user_id: Id
    item_id: Id
    history_ids: List[Id]
    is_cold: bool
    is_seen: bool
    titles: Dict[Id, str] = field(default_factory=dict)

    @property
    def pair_weights(self) -> Dict[str, float]:
        r"""The weights of the modalities for user and item together: the
        product of their attention weights, normalized to a sum of one.
        """
        products = {
            name: self.user_weights[name] * weight
            for name, weight in self.item_weights.items()
        }
        # It is zero if they have no modality in common.
        total = sum(products.values()) or 1.0
        return {name: value / total for name, value in products.items()}

    def to_text(self, num_items: int = 5) -> str:
        r"""Returns the explanation as a few lines of text.

        Args:
            num_items (int, optional): The number of the user's items to name,
                those that contribute most. The others are summed up.
                (default: :obj:`5`)

        Raises:
            ValueError: If :obj:`num_items` is negative.
        """
        lines = [
            f"{self.model} gives item {self._name(self.item_id)} a score of "
            f"{self.score:.4g} for user {self.user_id}, the sum of:"
        ]
        for label, parts in self._rows(num_items):
            line = f"{sum(parts.values()):>+12.4g}  {label}"
            if len(parts) > 1:
                shares = (f"{_name(p)} {v:+.4g}" for p, v in parts.items())
                line += f" ({', '.join(shares)})"
            lines.append(line)
        for whom, weights in (
            ("user", self.user_weights),
            ("item", self.item_weights),
            ("user and item together", self.pair_weights),
        ):
            if weights:
                shares = (f"{n} {w:.0%}" for n, w in weights.items())
                lines.append(f"Attention, {whom}: {', '.join(shares)}")
        if len(self.history) == 0:
            lines.append(
                "The user has no training item, and is recommended the most "
                "popular items instead."
            )
        if self.is_cold:
            lines.append("The item is cold: its embedding is an estimate.")
        if self.is_seen:
            lines.append("The user has the item: it is not recommended.")
        return "\n".join(lines)

    def to_dict(self) -> Dict[str, Any]:
        r"""Returns a dictionary of plain values with these keys:

        * :obj:`model` (str),
        * :obj:`user`: :obj:`index` (int) and :obj:`id` (int or str),
        * :obj:`item`: the same, :obj:`is_cold` and :obj:`is_seen` (bool),
        * :obj:`score` (float),
        * :obj:`user_part` (float): the part that belongs to no item,
        * :obj:`paths`: the sum of all items by path (name to float),
        * :obj:`history`: a list of the user's training items in descending
          order of contribution, each with :obj:`index`, :obj:`id`,
          :obj:`contribution` (float) and :obj:`paths` (name to float),
        * :obj:`modality_weights`: those for :obj:`user`, :obj:`item` and
          :obj:`pair` (name to float).

        The path :obj:`"collaborative"` is the user-item graph,
        :obj:`"modality:<name>"` a modality feature graph,
        :obj:`"item_graph"` the item feature graph,
        :obj:`"content_score:<name>"` the direct score of a modality,
        :obj:`"neighbors"` the score of items chosen together and, for cold
        items, :obj:`"profile"` the profiles learned from content. Items with
        a known title also have a key :obj:`title` (str).
        """
        *rows, _ = self._rows(len(self.history))
        history = [
            {
                "index": index,
                "id": raw,
                **self._title(raw),
                "contribution": sum(parts.values()),
                "paths": parts,
            }
            for index, raw, (_, parts) in zip(
                self.history.tolist(), self.history_ids, rows, strict=True
            )
        ]
        return {
            "model": self.model,
            "user": {"index": self.user, "id": self.user_id},
            "item": {
                "index": self.item,
                "id": self.item_id,
                **self._title(self.item_id),
                "is_cold": self.is_cold,
                "is_seen": self.is_seen,
            },
            "score": self.score,
            "user_part": self.user_part,
            "paths": self._by_path(self.contributions.sum(dim=0)),
            "history": history,
            "modality_weights": {
                "user": self.user_weights,
                "item": self.item_weights,
                "pair": self.pair_weights,
            },
        }

    def to_json(self) -> str:
        r"""Returns :meth:`to_dict` as JSON."""
        return json.dumps(
            self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False
        )

    def plot(self, path_or_ax: Any, num_items: int = 10) -> None:
        r"""Draws the contributions as horizontal bars, stacked by path.

        Args:
            path_or_ax (str or matplotlib.axes.Axes): The image file to write,
                of a type that matplotlib knows by its suffix, or the axes to
                draw on.
            num_items (int, optional): The number of the user's items with
                their own bar. (default: :obj:`10`)

        Raises:
            ImportError: If matplotlib is not installed:
                :obj:`pip install "tmfun-pyg[plot]"`.
            ValueError: If :obj:`num_items` is negative, or the type of the
                image file is unknown.
        """
        figures = import_extra("matplotlib.figure", "plot")
        rows = self._rows(num_items)
        if isinstance(path_or_ax, (str, os.PathLike)):
            # Not pyplot, which would choose a GUI backend.
            figure = figures.Figure((8, 1.8 + 0.35 * len(rows)))
            figure.set_layout_engine("constrained")
            self.plot(figure.subplots(), num_items)
            path = Path(path_or_ax)
            with atomic_write(path) as part:
                figure.savefig(part, format=path.suffix[1:] or "png", dpi=150)
            return
        ax, place = path_or_ax, np.arange(len(rows))
        ax.use_sticky_edges = False  # Otherwise, bars end at the frame.
        # Negative parts are stacked to the left of zero, others to the right:
        ends = np.zeros((2, len(rows)))
        for name in (*self.paths, "user_part"):
            value = np.array([parts.get(name, 0.0) for _, parts in rows])
            side = (value < 0).astype(int), place
            ax.barh(place, value, left=ends[side], label=_plain(_name(name)))
            ends[side] += value
        ax.plot(ends.sum(0), place, "kD", markersize=4, label="sum")
        ax.axvline(0.0, color="0.3", linewidth=0.8)
        ax.set_yticks(place, [_plain(label) for label, _ in rows])
        ax.invert_yaxis()
        ax.set_xlabel("contribution to the score")
        title = f"Item {self._name(self.item_id)} for user {self.user_id}: "
        ax.set_title(_plain(title + f"score {self.score:.4g}"))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    def to_pyg(self) -> HeteroExplanation:
        r"""Returns the subgraph of the user and the user's training items,
        largest contribution first, as PyG's explainers do: the
        :obj:`edge_mask` of :obj:`("user", "interacts", "item")` holds the
        contribution of each item, and the :obj:`n_id` of both node types holds
        their indices in the model.

        PyG's :meth:`get_explanation_subgraph` only keeps positive
        contributions.
        """
        out = HeteroExplanation()
        out["user"].n_id = torch.tensor([self.user])
        out["user"].num_nodes = 1
        out["item"].n_id = self.history
        out["item"].num_nodes = len(self.history)
        edges = out["user", "interacts", "item"]
        place = torch.arange(len(self.history))
        edges.edge_index = torch.stack([torch.zeros_like(place), place])
        edges.edge_mask = self.contributions.sum(dim=1)
        return out

    def _title(self, raw: Id) -> Dict[str, str]:
        title = self.titles.get(raw)
        return {"title": title} if title else {}

    def _name(self, raw: Id) -> str:
        title = self.titles.get(raw)
        return f"{raw} ({title})" if title else str(raw)

    def _by_path(self, row: Tensor) -> Dict[str, float]:
        return dict(zip(self.paths, row.tolist(), strict=True))

    def _rows(self, num_items: int) -> List[Tuple[str, Dict[str, float]]]:
        """Returns the labels and parts to show. The parts sum to the score."""
        if num_items < 0:
            raise ValueError(
                f"'num_items' must not be negative (got {num_items})"
            )
        shown = self.history_ids[:num_items]
        labels = [f"item {self._name(raw)}" for raw in shown]
        parts = [*map(self._by_path, self.contributions[:num_items])]
        others = self.contributions[num_items:]
        if len(others) > 0:
            other, plural = "other " * bool(parts), "s" * (len(others) > 1)
            labels.append(f"{len(others)} {other}item{plural} of the user")
            parts.append(self._by_path(others.sum(dim=0)))
        labels.append("the user's own embedding")
        parts.append({"user_part": self.user_part})
        return list(zip(labels, parts, strict=True))

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(user={self.user_id!r}, "
            f"item={self.item_id!r}, score={self.score:.4g})"
        )


def _name(path: str) -> str:
    return NAMES.get(path, path.removeprefix("modality:"))


def _plain(text: str) -> str:
    """Keeps matplotlib from reading an id as a formula."""
    return text.replace("$", r"\$")

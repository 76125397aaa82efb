import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.explain import Explanation, explain
from tmfun_pyg.nn import ColdItems, EmbeddingModel, RankingModel
from tmfun_pyg.recommender.add_items import add_items
from tmfun_pyg.recommender.catalog import Catalog
from tmfun_pyg.recommender.cold_slots import check_share
from tmfun_pyg.recommender.export import Exported, write_export
from tmfun_pyg.recommender.fallback import POPULAR, Fallback
from tmfun_pyg.recommender.fallback_scorer import FallbackScorer
from tmfun_pyg.recommender.fold_in import FoldIn, History, Users
from tmfun_pyg.recommender.item_filter import Ids
from tmfun_pyg.recommender.pair_scores import PairScores, score_pairs
from tmfun_pyg.recommender.raw_ids import index_of_users, recommend_ids
from tmfun_pyg.recommender.recommendations import Recommendations
from tmfun_pyg.recommender.similarity import (
    check_described,
    check_known,
    content_vectors,
    most_similar,
)
from tmfun_pyg.training import AtomicCheckpointIO, DatasetOptions
from tmfun_pyg.training.checkpoint import (
    PREFIX,
    Dataset,
    check_fingerprint,
    check_finite,
    describe_run,
    read_checkpoint,
    restore_model,
)
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.edges import all_interactions, check_graph_k, graph_k
from tmfun_pyg.utils.ids import RawIds, ids_as_text
from tmfun_pyg.utils.inference import inference
from tmfun_pyg.utils.messages import check_flag, name_items
from tmfun_pyg.utils.neighbor_scorer import NeighborScorer
from tmfun_pyg.utils.retrieval import EmbeddingScorer, Scorer
from tmfun_pyg.utils.signatures import takes_arguments_of
from tmfun_pyg.utils.user_items import UserItems


@dataclass(frozen=True, eq=False, repr=False)
class Recommender:
    r"""Serves a trained model and its data set. Takes and returns raw ids.

    .. code-block:: python

        recommender = Recommender(model, dataset)
        lists = recommender.recommend(["u1", "u7"]).lists()

    Embeddings are computed once, on first use. After further training of the
    model, create a new recommender; to change an option, use
    :obj:`dataclasses.replace(recommender, fallback="popular:30d")`.

    Args:
        model (RankingModel): The model. It stays on its device and in its
            mode.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set,
            with the feature graphs that the model reads.
        source (DatasetOptions, optional): Where the data set was read from,
            so that :meth:`load` finds it again. (default: :obj:`None`)
        epoch (int, optional): The training epoch of the weights, counted from
            zero. (default: :obj:`None`)
        cold_items (bool, optional): If set to :obj:`True`, items without a
            training interaction are scored by an estimate from their content,
            see :class:`~tmfun_pyg.nn.ColdItems`.
            (default: :obj:`False`)
        fallback (str, optional): The lists of unknown users, i.e. those
            without a training interaction or with an unknown id:

            * :obj:`"popular"`: the items with the most training interactions;
              the score is their number,
            * :obj:`"popular:30d"`: the items with the most training
              interactions in the 30 days (or any other number) up to the last
              one, for data sets with times; the score is their number, plus a
              fraction that breaks ties by the number of all training
              interactions,
            * :obj:`"group:COLUMN"`: the most popular item of each group in a
              column of :obj:`dataset.item_table`, the most popular first,
              then the second of each, and so on, so that a list shows the
              best of many groups. Items without a group form one group.
              The score decreases from round to round.

            All items are ranked once; a list skips the items that a request
            or a user excludes. (default: :obj:`"popular"`)
        unknown (str, optional): How to handle unknown ids in arguments:
            :obj:`"error"`, or :obj:`"warn"`, which ignores them with a warning
            that gives their number and the first five. For an unknown id,
            :meth:`similar_items` then returns an empty list, and
            :meth:`score` NaN. Unknown users get the fallback lists in any
            case. (default: :obj:`"error"`)

    Raises:
        ValueError: If :obj:`dataset` is a graph instead of a data set, if it
            is another data set or has feature graphs of another :obj:`k` than
            in training, or if it lacks the data for :obj:`fallback`. A model
            knows its data set if it was loaded, built from its graph by
            :meth:`~tmfun_pyg.nn.RankingModel.from_data`, or trained by a
            :class:`~tmfun_pyg.training.RecommenderModule` that was given it.
    """

    model: RankingModel
    dataset: Dataset
    source: Optional[DatasetOptions] = None
    epoch: Optional[int] = None
    cold_items: bool = False
    fallback: str = POPULAR
    unknown: str = "error"

    def __post_init__(self) -> None:
        if not isinstance(self.model, RankingModel):
            raise ValueError(
                f"'model' must be a RankingModel (got a "
                f"{type(self.model).__name__})"
            )
        _check_dataset(self.dataset)
        check_flag("cold_items", self.cold_items)
        RawIds(self.dataset.item_ids, self.unknown)  # Checks the latter.
        Fallback.parse(self.fallback).check(self.dataset)
        check_fingerprint(self.model.fingerprint, self.dataset)
        check_graph_k(self.model.graph_k, graph_k(self.dataset[0]))

    @cached_property
    def data(self) -> HeteroData:
        r"""The graph as :class:`~tmfun_pyg.transforms.ToRecGraph` returns it,
        on the device and in the precision of the model.
        """
        weights = iter(self.model.state_dict().values())
        device = next(weights, torch.empty(0)).device
        data = ToRecGraph()(self.dataset[0]).to(device)
        return self.model.in_own_precision(data)

    @cached_property
    def seen(self) -> UserItems:
        r"""The items of each user in the whole log (training, validation and
        test), by index.
        """
        edge_index = all_interactions(self.data)
        return UserItems.from_edge_index(edge_index, self.model.num_users)

    @cached_property
    def known(self) -> Tensor:
        r"""Whether each user has a training interaction."""
        return self.data["user"].degree > 0

    @cached_property
    def popularity(self) -> Tensor:
        r"""The number of training interactions of each item."""
        return self.data["item"].degree

    @cached_property
    def known_items(self) -> Tensor:
        r"""Whether the model knows each item: from a training interaction, or
        from its features if the model reads features.
        """
        return (self.popularity > 0) | self.model.needs_features

    @property
    def fallback_source(self) -> str:
        r"""The :obj:`source` of fallback lists and scores."""
        return Fallback.parse(self.fallback).source

    @cached_property
    def fallback_score(self) -> Tensor:
        r"""The score of each item for unknown users."""
        return Fallback.parse(self.fallback).scores(self.dataset, self.data)

    @cached_property
    def scorer(self) -> Scorer:
        r"""Scores all items for users, by index."""
        if self._cold is None:
            return self.model.scorer(self.data)
        embeddings = self._cold.extend(self._encoding)
        return self.model.scorer_of(*embeddings, self.data)

    @cached_property
    def _cold(self) -> Optional[ColdItems]:
        if not self.cold_items:
            return None
        return ColdItems.fit(self.model, self.model.prepare(self.data))

    @cached_property
    def _with_estimates(self) -> "Recommender":
        """The recommender with the model's best scores for cold items."""
        if self.cold_items or not self.model.estimates_cold_items:
            return self
        other = replace(self, cold_items=True)
        vars(other)["data"] = self.data
        return other

    @cached_property
    def _encoding(self) -> Any:
        with inference(self.model):
            return self.model.encode(self.model.prepare(self.data))

    def recommend_iter(
        self,
        users: Optional[Iterable[Any]] = None,
        k: int = 20,
        items: Optional[Ids] = None,
        exclude_seen: bool = True,
        history: Optional[History] = None,
        replace: bool = False,
        exclude_items: Optional[Ids] = None,
        max_per_group: Optional[int] = None,
        groups: Optional[Mapping[Any, Any]] = None,
        cold_share: float = 0.0,
    ) -> Iterator[Recommendations]:
        r"""Recommends items as :meth:`recommend` does (see there for the
        arguments), in chunks of users, so that memory never holds all lists.
        """
        model = self.model
        check_share(cold_share, model.supports_cold_items, type(model).__name__)
        if history is None and replace:
            raise ValueError("'replace' must come with 'history'")
        if history is not None and users is not None:
            raise ValueError(
                "'users' must be left out beside 'history', whose users are "
                "asked for"
            )
        one = self if cold_share == 0 else self._with_estimates
        users_of = (
            one._users
            if history is None
            else one._fold_in.users(history, one._users, replace)
        )
        item_filter = self._items.filter(
            items, exclude_items, max_per_group, groups
        )
        for found in recommend_ids(
            self._with_fallback(users_of.scorer, users_of.known),
            users_of.seen,
            users_of.ids,
            self._items.ids,
            users,
            k,
            item_filter,
            exclude_seen,
            folded_in=history is not None,
            cold_share=cold_share,
            popularity=self.popularity,
            may_ask=self._user_ids,
        ):
            self._warn_of_unknown(found.item_id[found.known])
            yield found

    @takes_arguments_of(recommend_iter)
    def recommend(self, *args: Any, **kwargs: Any) -> Recommendations:  # noqa: D417
        r"""Recommends the highest-scoring items to each user. Users without a
        training interaction or with an unknown id get the :obj:`fallback`
        lists, and are marked. With :obj:`history`, the lists are for its
        users, who are folded in, see :meth:`fold_in`.

        Args:
            users (Iterable[int or str], optional): The raw ids of the users,
                all of the data set if not given. (default: :obj:`None`)
            k (int, optional): The length of the lists, at most the number of
                eligible items. (default: :obj:`20`)
            items (List, Dict or str, optional): The raw ids of the eligible
                items: a list for all users, a name of :meth:`name_items`, or
                a list for each of some users, by their raw ids, which must be
                in the data set or in this call; all other users get any
                items. Duplicates count once. A user with an empty list, or
                with fewer than :obj:`k` items left, has a shorter row, see
                :class:`Recommendations`.
                (default: :obj:`None`)
            exclude_seen (bool, optional): If set to :obj:`False`, also
                recommends items that a user has already, in training,
                validation, test or :obj:`history`. (default: :obj:`True`)
            history (Dict[int or str, List[int or str]], optional): The items
                of each user, by raw ids, instead of :obj:`users`.
                (default: :obj:`None`)
            replace (bool, optional): See :meth:`fold_in`.
                (default: :obj:`False`)
            exclude_items (List or Dict, optional): The raw ids of items to
                exclude, for all users or by user, as for :obj:`items`.
                (default: :obj:`None`)
            max_per_group (int, optional): The maximum number of items per
                group, such as a brand, in a list. The next best items take
                the places of the others. Items without a group do not count.
                (default: :obj:`None`)
            groups (Dict[int or str, Any], optional): The groups of items, by
                raw id. (default: those of :obj:`dataset.item_table`)
            cold_share (float, optional): The share of each list that is
                reserved for cold items, those without a training interaction,
                rounded to whole places and spread evenly over the list. The
                cold items with the highest scores fill these places, scored
                as with :obj:`cold_items=True` if the model supports it;
                scores descend among them and among the warm items. All
                filters apply. If too few cold or warm items are left, the
                others take their places. With a share of zero, cold items
                compete with all others. The lists of :obj:`fallback` reserve
                no places, since nothing says which cold items to choose.
                (default: :obj:`0.0`)

        Raises:
            ValueError: If :obj:`k` or :obj:`max_per_group` is not positive,
                if an item is unknown, if :obj:`items` is an empty list, if
                :obj:`exclude_items` leaves no item, if either has a list for
                a user who is neither in the data set nor in this call, if
                there are no groups for :obj:`max_per_group`, if :obj:`users`
                is given together with :obj:`history`, if :obj:`cold_share` is
                not from zero to one, or the model does not score cold items,
                or as in :meth:`fold_in`.
        """
        return Recommendations.concat(self.recommend_iter(*args, **kwargs))

    def fold_in(
        self, histories: History, replace: bool = False
    ) -> Tuple[np.ndarray, np.ndarray]:
        r"""Computes the embeddings of users from their items, without
        training: of users unknown to the model, or of known users with
        further items. The score is the inner product with the item embeddings,
        as :meth:`export` writes them, plus the
        :class:`~tmfun_pyg.nn.NeighborScore`, if any: that of TMFUN needs the
        items themselves, and :obj:`neighbors.npz` of an export. Nothing else
        changes. :meth:`recommend` takes histories as well, uses the full score
        of the model, and also works for models without embeddings.

        Users are added to the graph as by
        :class:`~tmfun_pyg.transforms.AddUsers`, and the model reads them like
        all others. The history of a known user extends the training items, and
        the user's ID embedding is kept, if there is a training interaction.
        Duplicates count once. Items without a training interaction count in
        models that score them by content; in others, they only count as seen.
        The messages that users receive from items are computed in the first
        call, and cached.

        Args:
            histories (Dict[int or str, List[int or str]]): The items of each
                user, by raw ids.
            replace (bool, optional): If set to :obj:`True`, ignores the stored
                items and ID embeddings of known users.
                (default: :obj:`False`)

        Returns:
            The embeddings, in the order of :obj:`histories`, of shape
            :obj:`[num_users, channels]`, and whether the model knows at least
            one item of each user. The other embeddings are meaningless.

        Raises:
            ValueError: If the model cannot fold in users, if
                :obj:`histories` has the wrong form or holds an unknown item,
                or if the model has no embeddings.
        """
        self._embeddings("fold_in")
        found = self._fold_in.users(histories, self._users, replace)
        assert isinstance(found.scorer, EmbeddingScorer)
        emb = found.scorer.user_emb.float()
        return emb.cpu().numpy(), found.known.cpu().numpy()

    def _with_fallback(self, scorer: Scorer, known: Tensor) -> FallbackScorer:
        score, source = self.fallback_score, self.fallback_source
        return FallbackScorer(scorer, known, score, source)

    @property
    def _users(self) -> Users:
        return Users(self._user_ids, self.scorer, self.seen, self.known)

    @cached_property
    def _user_ids(self) -> RawIds:
        return RawIds(self.dataset.user_ids, self.unknown)

    @cached_property
    def _items(self) -> Catalog:
        ids = RawIds(self.dataset.item_ids, self.unknown)
        return Catalog(ids, self.dataset)

    @cached_property
    def _fold_in(self) -> FoldIn:
        return FoldIn(self.model, self.data, self._items.ids, self._cold)

    def similar_items(
        self,
        ids: Iterable[Any],
        k: int = 10,
        by: str = "embedding",
        items: Optional[Ids] = None,
        exclude_items: Optional[Ids] = None,
        max_per_group: Optional[int] = None,
        groups: Optional[Mapping[Any, Any]] = None,
    ) -> Tuple[np.ndarray, np.ndarray]:
        r"""Finds the items that are most similar to the given ones, by the
        cosine similarity of embeddings or features. Each item comes first in
        its own list if it is eligible, even among items with equal vectors. An
        item with a zero embedding or zero features, such as one that lacks the
        modality, is similar to none and in no list. By embedding, its own list
        is empty; by content, it must not be among :obj:`ids`.
        In a model that reads no features, the embedding of an item without a
        training interaction is meaningless. By embedding, such items are in no
        list, after one warning.

        Embeddings with one channel, such as those of
        :class:`~tmfun_pyg.baselines.MostPopular`, are an error: they are all
        alike.

        Args:
            ids (Iterable[int or str]): The raw ids of the items.
            k (int, optional): The length of the lists, at most the number of
                eligible items. (default: :obj:`10`)
            by (str, optional): :obj:`"embedding"`, a modality, or
                :obj:`"content"` for the mean over all modalities, in which a
                modality that either item lacks counts as a cosine of zero.
                Features are standardized and centered as in
                :class:`~tmfun_pyg.baselines.ContentKNN`.
                (default: :obj:`"embedding"`)
            items (List or Dict, optional): The eligible items, by the
                requested ids if it is a dictionary, see
                :meth:`recommend`. (default: :obj:`None`)
            exclude_items (List or Dict, optional): Items to exclude,
                see :meth:`recommend`. (default: :obj:`None`)
            max_per_group (int, optional): See :meth:`recommend`.
            groups (Dict[int or str, Any], optional): See :meth:`recommend`.

        Returns:
            Raw ids and similarities, of shape :obj:`[num_ids, k]`. If fewer
            items are left, rows end in :obj:`-1` or :obj:`""`, and
            :obj:`-inf`.

        Raises:
            ValueError: If an item is unknown, or, by embedding, unknown to
                the model, if it lacks the modality, if :obj:`k` is not
                positive, if the model has no embeddings with at least two
                channels, if the data set lacks the features, or as in
                :meth:`recommend`.
        """
        ids = ids_as_text("ids", ids)
        item_filter = self._items.filter(
            items, exclude_items, max_per_group, groups
        )
        if by == "embedding":
            self._embeddings("similar_items")
            model = type(self.model).__name__
            check_known(self._items.ids, ids, self.known_items, model)
            vector = self._item_directions
        else:
            vector = content_vectors(self.data, by)
            check_described(self._items.ids, ids, vector, by)
        return most_similar(vector, self._items.ids, ids, k, item_filter)

    def similar_users(
        self, ids: Iterable[Any], k: int = 10
    ) -> Tuple[np.ndarray, np.ndarray]:
        r"""Finds the users whose embeddings have the largest cosine
        similarity to those of the given users. Each user comes first in their
        own list. Users without a training interaction, who are unknown to the
        model, are in no list, and their own lists are empty.

        Args:
            ids (Iterable[int or str]): The raw ids of the users.
            k (int, optional): The length of the lists, at most the number of
                users. (default: :obj:`10`)

        Returns:
            Raw ids and similarities, as in :meth:`similar_items`.

        Raises:
            ValueError: If a user is unknown, if :obj:`k` is not positive, or
                if the model has no embeddings with at least two channels.
        """
        vector = self._directions("similar_users", 0)
        vector = vector * self.known.view(-1, 1)
        return most_similar(vector, self._user_ids, ids, k)

    def score(self, users: Iterable[Any], items: Iterable[Any]) -> PairScores:
        r"""Returns the scores of user-item pairs, the same as in
        :meth:`recommend`, including items that a user has already.

        Args:
            users (Iterable[int or str]): The raw ids of the users. Unknown
                users are scored as in :meth:`recommend`, and marked.
            items (Iterable[int or str]): The raw ids of the items, one per
                user.

        Raises:
            ValueError: If the numbers of users and items differ, or if an
                item is unknown.
        """
        found = self._items.ids.find_some("items", items)
        item = torch.from_numpy(found).to(self.scorer.device)
        user = index_of_users(users, self._user_ids).to(item.device)
        if len(user) != len(item):
            raise ValueError(
                f"'users' and 'items' must be of one length (got {len(user)} "
                f"and {len(item)})"
            )
        scorer = self._with_fallback(self.scorer, self.known)
        known = scorer.known[user].cpu().numpy()
        self._warn_of_unknown(
            self.dataset.item_ids[found[known & (found >= 0)]]
        )
        return score_pairs(scorer, user, item)

    @property
    def titles(self) -> pd.Series:
        r"""The title of each item by raw id, :obj:`""` for those without.

        Raises:
            ValueError: If the data set has no titles.
        """
        return self._items.titles

    def add_items(
        self, item_ids: Sequence[Any], features: Dict[str, Any], k: int = 10
    ) -> "Recommender":
        r"""Returns a recommender with additional cold items, which are scored
        by their content. The scores of warm items do not change; items that
        were cold before are now scored by the estimates of
        :class:`~tmfun_pyg.nn.ColdItems`, as with :obj:`cold_items=True`, if
        the model supports it. The added items are in no data set:
        :meth:`save` raises an error for such a recommender, while
        :meth:`export` writes them.

        Args:
            item_ids (Sequence[int or str]): The raw ids of the cold items.
            features (Dict[str, np.ndarray or torch.Tensor]): Their features
                for each modality, one row per id, see
                :class:`~tmfun_pyg.transforms.AddItems`. If the data set
                projected its features (:obj:`dataset.projections`), these are
                the features before the projection.
            k (int, optional): The number of known items that each is connected
                to in the feature graphs. (default: :obj:`10`)

        Raises:
            ValueError: If the model has no scores for cold items, if an id
                exists already, is given twice or has another type than those
                of the data set, or if the features are invalid.
        """
        model, dataset = add_items(
            self.model, self.dataset, item_ids, features, k
        )
        # No source: this data set was not read from anywhere.
        cold_items = model.estimates_cold_items
        larger = Recommender(
            model,
            dataset,
            None,
            self.epoch,
            cold_items,
            self.fallback,
            self.unknown,
        )
        if larger.cold_items:
            # Rounding may depend on sizes: keep the known embeddings.
            users, items = self._embeddings("add_items")
            new = larger._encoding
            width = new.item.size(1)
            items = torch.cat([items[:, :width], new.item[len(items) :]])
            encoding = new._replace(user=users[:, :width], item=items)
            vars(larger)["_encoding"] = encoding  # Instead of computing it.
        larger._items.named.update(self._items.named)
        return larger

    def explain(self, user: Any, item: Any) -> Explanation:
        r"""Explains the score of an item for a user, see
        :func:`tmfun_pyg.explain.explain`.

        Args:
            user (int or str): The raw id of the user.
            item (int or str): The raw id of the item.

        Raises:
            ValueError: If an id is unknown, or the model cannot be explained.
        """
        ids = self.dataset.user_ids, self.dataset.item_ids
        user_index = self._user_ids.find("user", [user]).item()
        item_index = self._items.ids.find("item", [item]).item()
        found = explain(
            self.model, self.data, user_index, item_index, *ids, self._cold
        )
        if "title" not in self.dataset.item_table:
            return found
        shown = [found.item_id, *found.history_ids]
        return replace(found, titles=self.titles.loc[shown].to_dict())

    def evaluate(
        self,
        split: str = "test",
        ks: Sequence[int] = (5, 10, 20, 50),
        beyond_accuracy: bool = False,
    ) -> Dict[str, float]:
        r"""Ranks all items for every user of a split, see
        :func:`tmfun_pyg.evaluation.evaluate`.

        Args:
            split (str, optional): The split, :obj:`"val"` or :obj:`"test"`.
                (default: :obj:`"test"`)
            ks (Sequence[int], optional): The lengths of the lists.
                (default: :obj:`(5, 10, 20, 50)`)
            beyond_accuracy (bool, optional): Whether to return beyond-accuracy
                metrics of the lists as well. (default: :obj:`False`)

        Raises:
            ValueError: If the model was trained on the split, or if the split
                does not exist.
        """
        if self.source is not None and self.source.on_all_data:
            raise ValueError(
                f"The model was trained on all interactions: none of "
                f"'{split}' is left to judge it by"
            )
        return evaluate(
            self.scorer, self.data, split, ks, beyond_accuracy=beyond_accuracy
        )

    def save(self, path: Any) -> None:
        r"""Writes a checkpoint, as training does. It refers to the data set,
        which must therefore hold all items: those of :meth:`add_items` are in
        none.

        Args:
            path (str): The file to write.

        Raises:
            ValueError: If there are items of :meth:`add_items`, or a weight
                is not finite.
            OSError: If the file cannot be written.
        """
        num_added = self.dataset.num_added
        if num_added > 0:
            added = name_items(self.dataset.item_ids[-num_added:])
            raise ValueError(
                f"A recommender with added items cannot be saved, as no data "
                f"set holds them (got {added}): export it, or prepare the data "
                f"set again with them and train"
            )
        weights = self.model.state_dict()
        check_finite(weights, "A model to be saved")
        checkpoint = {
            **describe_run(self.model, self.dataset, self.source),
            "state_dict": {PREFIX + k: v for k, v in weights.items()},
            "epoch": self.epoch,
            "cold_items": self.cold_items,
            "fallback": self.fallback,
        }
        AtomicCheckpointIO().save_checkpoint(checkpoint, path)

    @classmethod
    def load(
        cls,
        path: Any,
        dataset: Optional[Dataset] = None,
        model_cls: Optional[type] = None,
    ) -> "Recommender":
        r"""Reads a checkpoint, written by training or by :meth:`save`.

        Args:
            path (str): The checkpoint.
            dataset (MultimodalRecDataset or SyntheticMultimodal, optional):
                The data set, read from its location in training if not given.
                (default: :obj:`None`)
            model_cls (Type[RankingModel], optional): The class of the model,
                for models that are neither in :mod:`tmfun_pyg.nn` nor in
                :mod:`tmfun_pyg.baselines`. (default: :obj:`None`)

        Raises:
            ValueError: If the file is not such a checkpoint, if it does not
                say where its data set is or how its model was made, or if the
                data set or the :obj:`k` of its feature graphs differs from
                training.
        """
        checkpoint = read_checkpoint(path)
        options = checkpoint["recommender"]["source"]
        source = None if options is None else DatasetOptions(**options)
        if dataset is None:
            if source is None:
                raise ValueError(f"'{path}' has no source: give 'dataset'")
            if source.root is not None and not os.path.isdir(source.root):
                raise ValueError(
                    f"'{source.root}', the data set that '{path}' was trained "
                    f"with, does not exist; if it has moved, give 'dataset'"
                )
            dataset = source.load()
        _check_dataset(dataset)
        model = restore_model(checkpoint, dataset, model_cls)
        return cls(
            model,
            dataset,
            source,
            checkpoint["epoch"],
            checkpoint.get("cold_items", False),
            checkpoint.get("fallback", POPULAR),
        )

    def export(
        self,
        folder: Any,
        formats: Sequence[str] = (),
        index: str = "flat",
        k: int = 20,
        overwrite: bool = False,
    ) -> Dict[str, Any]:
        r"""Writes the files for a server that recommends without the model.

        The folder holds the float32 embeddings of all users and items, whose
        inner product is the score, apart from the
        :class:`~tmfun_pyg.nn.NeighborScore` if the model has one
        (:obj:`neighbors.npz`), the ids, the items that users have seen, the
        fallback scores, the item table of the data set (titles), and
        :obj:`manifest.json` with sizes, versions and a description of each
        file. It is written completely or not at all. Lists with
        :obj:`cold_share` need the export of a recommender with
        :obj:`cold_items=True` if the model supports it.

        Args:
            folder (str): The folder to create.
            formats (List[str], optional): The additional files to write:

                * :obj:`"safetensors"`: both matrices in one file,
                * :obj:`"faiss"`: an index of the items, by the inner product
                  of embeddings alone. It includes the items that a user has
                  seen: search for that many items more.
                * :obj:`"scorer"`: a
                  :class:`~tmfun_pyg.recommender.export.ScorerModule`, saved
                  by :meth:`torch.export.save`, for batches of any size on the
                  CPU.

                (default: :obj:`()`)
            index (str, optional): The kind of index, see
                :func:`~tmfun_pyg.recommender.item_index.build_index`. The
                manifest reports the recall of an approximate one.
                (default: :obj:`"flat"`)
            k (int, optional): The length of the lists of the scorer.
                (default: :obj:`20`)
            overwrite (bool, optional): If set to :obj:`True`, replaces the
                folder of an earlier call.
                (default: :obj:`False`)

        Returns:
            The content of :obj:`manifest.json`.

        Raises:
            ImportError: If a package that a format needs is not installed.
            ValueError: If an argument is out of range, if an id holds a line
                break, if the model has no embeddings or they are not finite,
                or if the folder exists (with :obj:`overwrite`: if it holds
                anything but an export).
            OSError: If the folder cannot be written.
        """
        # Copies, since both may be views of one larger tensor:
        user_emb, item_emb = (
            torch.empty(emb.shape).copy_(emb.detach())
            for emb in self._embeddings("export")
        )
        neighbors = None
        if isinstance(self.scorer, NeighborScorer):
            neighbors = self.scorer.tables()
        ids = self.dataset.user_ids, self.dataset.item_ids
        seen = UserItems(*(x.cpu() for x in self.seen))
        known, popularity = self.known.cpu(), self.popularity.cpu().float()
        table = self.dataset.item_table
        parts = Exported(
            user_emb,
            item_emb,
            *ids,
            seen,
            known,
            popularity,
            self.fallback_score,
            self.fallback,
            table,
            self.model.supports_cold_items and self._with_estimates is self,
            neighbors,
        )
        model = type(self.model).__name__
        return write_export(folder, parts, model, formats, index, k, overwrite)

    def name_items(self, name: str, items: Iterable[Any]) -> None:
        r"""Stores items under a name that stands for them from then on in
        :obj:`items` and :obj:`exclude_items`. Their ids are looked up once,
        not in each request.

        Args:
            name (str): The name, such as :obj:`"in_stock"`. Another call with
                the same name replaces the items.
            items (Iterable[int or str]): The raw ids of the items.

        Raises:
            ValueError: If an item is unknown.
        """
        self._items.name_items(name, items)

    @cached_property
    def _unknown_items(self) -> np.ndarray:
        """The ids of items with untrained embeddings."""
        is_unknown = ~self.known_items.cpu().numpy()
        if not isinstance(self.model, EmbeddingModel):
            is_unknown[:] = False
        return self.dataset.item_ids[is_unknown]

    def _warn_of_unknown(self, asked: np.ndarray) -> None:
        """Warns of items with meaningless scores."""
        unknown = self._unknown_items
        if unknown.size > 0:
            unknown = unknown[np.isin(unknown, asked)]
        if unknown.size > 0:
            warnings.warn(
                f"Scores of items without a training interaction mean nothing "
                f"in {type(self.model).__name__}, which reads no features: "
                f"{name_items(unknown)}",
                stacklevel=4,
            )

    @cached_property
    def _item_directions(self) -> Tensor:
        vector = self._directions("similar_items", 1)
        unknown = ~self.known_items.cpu().numpy()
        if unknown.any():
            warnings.warn(
                f"By embedding, items without a training interaction are "
                f"similar to none, as {type(self.model).__name__} reads no "
                f"features: {name_items(self.dataset.item_ids[unknown])}",
                stacklevel=4,
            )
        return vector * self.known_items.view(-1, 1)

    def _directions(self, purpose: str, side: int) -> Tensor:
        """Returns the normalized embeddings of users (0) or items (1)."""
        emb = F.normalize(self._embeddings(purpose)[side].float())
        if emb.size(1) < 2:
            raise ValueError(
                f"'model' must have embeddings of at least 2 channels for "
                f"'{purpose}' (got 1 of {type(self.model).__name__})"
            )
        return emb

    def _embeddings(self, purpose: str) -> Tuple[Tensor, Tensor]:
        if not isinstance(self.scorer, EmbeddingScorer):
            raise ValueError(
                f"{type(self.model).__name__} has no embeddings, which "
                f"'{purpose}' needs"
            )
        return self.scorer.user_emb, self.scorer.item_emb

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({type(self.model).__name__}, "
            f"num_users={len(self.dataset.user_ids)}, "
            f"num_items={len(self.dataset.item_ids)})"
        )


def _check_dataset(dataset: Any) -> None:
    if not hasattr(dataset, "item_ids"):
        raise ValueError(
            f"'dataset' must be a data set of tmfun_pyg.datasets, with its ids "
            f"(got a {type(dataset).__name__})"
        )

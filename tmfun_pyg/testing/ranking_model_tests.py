import copy
import io
import pickle
from typing import Any, Dict, Tuple, Type

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import HeteroData
from torch_geometric.testing import onlyCUDA, onlyNeighborSampler

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.testing.data import make_data
from tmfun_pyg.transforms import AddUsers, ToRecGraph

# Different from any layer size, and from each other:
NUM_USERS, NUM_ITEMS = 11, 13
COLD = torch.tensor([2, 12])


class RankingModelTests:
    r"""Checks that every :class:`~tmfun_pyg.nn.RankingModel` has to pass. The
    test class of a model inherits from it:

    .. code-block:: python

        from tmfun_pyg.testing import RankingModelTests

        class TestMyModel(RankingModelTests):
            model_cls = MyModel
            options = {"channels": 4, "num_layers": 2}

    Each check uses a small data set on the CPU and random weights. The checks
    of cold items, sampled batches and fold-in only run if the model supports
    them.
    """

    #: The class of the model.
    model_cls: Type[RankingModel]
    #: The options that it is built with.
    options: Dict[str, Any] = {}  # noqa: RUF012 (overridden, not changed)
    #: The names of parameters that the loss does not read.
    without_gradient: Tuple[str, ...] = ()
    #: The suffixes of state and attributes that may depend on a data set.
    state_of_data: Tuple[str, ...] = ()
    #: The number of hops, at least the number of layers of the model.
    num_hops: int = 2

    def dense_loss(self, model: Any, data: HeteroData, *batch: Any) -> Any:
        r"""Returns the expected parts of the loss in evaluation mode, computed
        in another way. To be overridden.

        Args:
            model (RankingModel): The model.
            data (HeteroData): The raw data set.
            *batch (torch.Tensor): Users, positive items and negative items.
        """
        return None

    def make_model(self, data: HeteroData) -> RankingModel:
        r"""Builds the model, with weights far from the initial ones."""
        torch.manual_seed(0)
        model = self.model_cls.from_data(data, **self.options)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        return model

    def make_fitted_model(self) -> RankingModel:
        r"""Builds the model, and fits its closed-form parts."""
        model = self.make_model(self.data)
        model.fit(self.graph)
        return model

    def setup_method(self) -> None:
        r"""Makes the inputs of the checks."""
        sizes = NUM_USERS, NUM_ITEMS
        self.data = make_data(*sizes, missing=True, cold=COLD.tolist())
        self.graph = ToRecGraph()(self.data)
        self.other_data = make_data(*sizes, missing=True, seed=1)
        self.model = self.make_fitted_model()
        edge_index = self.data["user", "interacts", "item"].edge_index
        user, item = edge_index[:, ::4].contiguous()
        neg_item = torch.stack([item.flip(0), item.roll(1)], dim=1)
        self.batch: Tuple[Tensor, ...] = (user, item, neg_item)

    def embed(self, graph: HeteroData, epoch: Any = None) -> Any:
        r"""Returns the embeddings of users and items in evaluation mode, or
        the scores of a model without embeddings.
        """
        graph = self.model.eval().prepare(graph, epoch)
        if not self.model.has_embeddings:
            scorer = self.model.scorer(graph)
            return (scorer.score(torch.arange(NUM_USERS)),)
        return tuple(x.clone() for x in self.model.encode(graph)[:2])

    def loss(self, graph: HeteroData, epoch: Any = None) -> Dict[str, Tensor]:
        r"""Returns the parts of the loss of the batch."""
        return self.model.loss(self.model.prepare(graph, epoch), *self.batch)

    def test_is_built_by_sizes(self) -> None:
        r"""Data sets of the same sizes give the same model."""
        self.model = self.make_model(self.data)
        name, state = str(self.model), self._state()
        assert self.model.options == self.options
        for data in (self.graph, self.other_data):
            self.model = self.make_model(data)
            assert str(self.model) == name
            assert _is_same(self._state(), state)

    def test_keeps_nothing_of_what_it_reads(self) -> None:
        r"""Reading a graph changes neither the model nor its results on other
        data.
        """
        other = ToRecGraph()(self.other_data)
        expected = self.embed(other, epoch=0)
        self.model = self.make_fitted_model()
        before = copy.deepcopy(self._state())
        self.embed(self.graph, epoch=0)
        self.loss(self.graph, epoch=0)
        assert _is_same(self._state(), before)
        assert _is_same(self.embed(other, epoch=0), expected)

    def test_refuses_what_it_was_not_made_for(self) -> None:
        r"""Graphs of other sizes, raw graphs, and unsupported samples raise a
        ValueError.
        """
        sizes = (NUM_USERS + 1, NUM_ITEMS), (NUM_USERS, NUM_ITEMS + 1)
        refused = [self.data, *(ToRecGraph()(make_data(*n)) for n in sizes)]
        if not self.model.supports_sampling:
            refused.append(copy.copy(self.graph))
            refused[-1]["item"].n_id = torch.arange(NUM_ITEMS)
        for graph in refused:
            with pytest.raises(ValueError):  # noqa: PT011 (in any words)
                self.model.scorer(graph)

    def test_encodes_rows(self) -> None:
        r"""Requested rows are those of the embeddings of all."""
        if not self.model.has_embeddings:
            pytest.skip("the model has no embeddings")
        expected = self.embed(self.graph)
        assert _is_same(self.model(self.graph), expected)
        graph = self.model.prepare(self.graph)
        user, item, _ = self.batch
        for rows in ((user, item), (user, None), (None, item)):
            pairs = zip(expected, rows, strict=True)
            wanted = tuple(x if i is None else x[i] for x, i in pairs)
            found = self.model.encode(graph, *rows)[:2]
            assert_close(found, wanted, rtol=1e-5, atol=1e-5)

    def test_trains_all_parameters(self) -> None:
        r"""The loss is finite, and all parameters get finite gradients."""
        parts = self.loss(self.graph, epoch=0)
        for name, value in parts.items():
            assert value.dim() == 0, name
            assert value.isfinite(), name
        sum(parts.values(), torch.zeros((), requires_grad=True)).backward()
        for name, parameter in self.model.named_parameters():
            if name not in self.without_gradient:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
                assert parameter.grad.any(), name

    def test_dense_reference(self) -> None:
        r"""Loss and gradients match :meth:`dense_loss`."""
        model = self.model.eval()
        expected = self.dense_loss(model, self.data, *self.batch)
        if expected is None:
            pytest.skip("there is no dense reference")
        assert_same_loss(model, self.loss(self.graph), expected)

    def test_cold_items(self) -> None:
        r"""A cold item depends only on its content, and does not influence
        others.
        """
        if not self.model.supports_cold_items:
            pytest.skip("the model does not support cold items")
        expected = self.embed(self.graph)
        assert expected[1][COLD].any(dim=1).all()
        for parameter in self.model.parameters():
            if parameter.size(0) == NUM_ITEMS:
                parameter.data[COLD] += 1.0
        assert _is_same(self.embed(self.graph), expected)
        for (source, _, target), store in self.graph.edge_items():
            if source == target:
                is_cold = torch.isin(store.edge_index.as_tensor()[0], COLD)
                store.edge_weight = store.edge_weight.masked_fill(is_cold, 0)
        assert_close(self.embed(self.graph), expected)

    def test_folds_in_users(self) -> None:
        r"""Added users get the same results as known users with the same
        items, and change nothing.
        """
        if not self.model.supports_fold_in:
            pytest.skip("the model does not support fold-in")
        user, item = self.data["user", "interacts", "item"].edge_index
        known = torch.tensor([3, 0])
        row, place = (user == known.view(-1, 1)).nonzero(as_tuple=True)
        pairs = torch.stack([row, item[place]])
        expected = self.embed(self.graph)
        graph = AddUsers(pairs, known)(self.graph)
        rows = torch.cat([torch.arange(NUM_USERS), known])
        if not self.model.has_embeddings:
            found = self.model.scorer(graph).score(torch.arange(len(rows)))
            assert_close(found, expected[0][rows], rtol=1e-5, atol=1e-5)
            return
        found = self.embed(graph)
        wanted = expected[0][rows], expected[1]
        assert_close(found, wanted, rtol=1e-5, atol=1e-5)

    def test_folds_in_users_alone(self) -> None:
        r"""Added users have the same embeddings on their own as on the whole
        graph: with any number of items, including cold ones, and known before
        or not.
        """
        if not (self.model.supports_fold_in and self.model.has_embeddings):
            pytest.skip("the model does not support fold-in to embeddings")
        items = [[1], [4, 0, 3], [*range(NUM_ITEMS)], [2, 4], [], COLD.tolist()]
        known = torch.tensor([-1, 3, -1, 0, -1, -1])
        count = torch.tensor([*map(len, items)])
        row = torch.arange(len(items)).repeat_interleave(count)
        pairs = torch.stack(
            [row, torch.tensor([i for row in items for i in row])]
        )
        if not self.model.supports_cold_items:
            pairs = pairs[:, self.graph["item"].degree[pairs[1]] > 0]
        model = self.model.eval()
        graph = model.prepare(AddUsers(pairs, known)(self.graph))
        rows = torch.arange(len(items)) + NUM_USERS
        expected = model.encode(graph, rows, rows[:0])[0]
        state = model.fold_in_state(self.graph)
        new = AddUsers(pairs, known, alone=True)(self.graph)
        found = model.encode_new_users(state, new)
        assert_close(found, expected, rtol=1e-5, atol=1e-5)
        # Earlier requests change nothing:
        few = AddUsers(pairs[:, pairs[0] == 0], known[:1], alone=True)
        alone = model.encode_new_users(state, few(self.graph))
        assert_close(alone, expected[:1], rtol=1e-5, atol=1e-5)

    @onlyNeighborSampler
    def test_samples_of_all_neighbors(self) -> None:
        r"""A sample of all neighbors has the same loss as the whole graph."""
        if not self.model.supports_sampling:
            pytest.skip("the model does not support sampled batches")
        hops = [-1] * self.num_hops
        dataset = SampledInteractionDataset(self.graph, hops, -1, 2)
        sample = dataset[torch.arange(0, len(dataset), 4)]
        user, item = sample["user"], sample["item"]
        index = user.src_index, item.dst_pos_index, item.dst_neg_index
        found = self.model.eval().loss(sample, *index)
        self.batch = user.n_id[index[0]], *(item.n_id[i] for i in index[1:])
        assert_same_loss(self.model, found, self.loss(self.graph))

    def test_save_and_load(self) -> None:
        r"""State and options restore the same model."""
        expected = self.embed(self.graph)
        file = io.BytesIO()
        torch.save(self.model.state_dict(), file)
        options = pickle.loads(pickle.dumps(self.model.options))
        other = self.model_cls.from_data(self.data, **options).eval()
        state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        other.load_state_dict(state)
        for model in (other, copy.deepcopy(self.model)):
            self.model = model
            assert _is_same(self.embed(self.graph), expected)

    def test_leaves_the_graph_alone(self) -> None:
        r"""The graph is only written to in a copy, and the random numbers of
        an epoch depend only on its number.
        """
        before = copy.deepcopy(self.graph.to_dict())
        self.loss(self.graph, epoch=0)
        expected = self.embed(self.graph, epoch=1)
        assert _is_same(self.embed(self.graph, epoch=1), expected)
        assert _is_same(self.graph.to_dict(), before)

    @onlyCUDA
    def test_on_a_gpu(self) -> None:
        r"""Embeddings and loss match those on the CPU."""
        results = []
        for device in ("cpu", "cuda"):
            self.model.to(device)
            self.batch = tuple(index.to(device) for index in self.batch)
            graph = copy.copy(self.graph).to(device)
            results.append([*self.embed(graph), *self.loss(graph).values()])
        assert_close([x.cpu() for x in results[1]], results[0])

    def _state(self) -> Dict[str, Any]:
        state = dict(self.model.state_dict(keep_vars=True))
        for prefix, module in self.model.named_modules():
            buffers = dict(module.named_buffers(recurse=False))
            for name, value in {**buffers, **vars(module)}.items():
                if isinstance(value, (Tensor, HeteroData)):
                    state[f"{prefix}.{name}"] = value
        kept = [n for n in state if not n.endswith(self.state_of_data)]
        return {name: state[name] for name in kept}


def assert_same_loss(model: RankingModel, *losses: Dict[str, Tensor]) -> None:
    r"""Asserts that the parts of two losses are equal to five digits, and the
    gradients of their sums to four.

    Args:
        model (RankingModel): The model whose gradients are compared.
        *losses (Dict[str, torch.Tensor]): The parts of the tested loss and of
            the reference, by name.
    """
    assert_close(*losses, rtol=1e-5, atol=1e-5)
    grads = []
    for parts in losses:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        torch.stack(list(parts.values())).sum().backward()
        grads.append({n: p.grad for n, p in model.named_parameters()})
    assert_close(*grads, rtol=1e-4, atol=1e-5)


def _is_same(x: Any, y: Any) -> bool:
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(_is_same(x[k], y[k]) for k in x)
    if isinstance(x, tuple):
        return len(x) == len(y) and all(map(_is_same, x, y))
    if isinstance(x, Tensor):
        if x.shape != y.shape:
            return False
        is_unknown = x.isnan() & y.isnan()  # Of a model that is not fitted.
        return bool(((x == y) | is_unknown).all())
    return x == y

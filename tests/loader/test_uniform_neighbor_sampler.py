from itertools import combinations

import pytest
import torch
from torch_geometric import typing
from torch_geometric.data import HeteroData
from torch_geometric.loader import (
    LinkLoader,
    LinkNeighborLoader,
    NeighborLoader,
    NodeLoader,
)

from tmfun_pyg.loader import UniformNeighborSampler
from tmfun_pyg.loader.uniform_neighbor_sampler import draw_edges

INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
SIMILAR = ("item", "similar", "item")
EMPTY = ("user", "follows", "user")

needs_pyg_sampler = pytest.mark.skipif(
    not (typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE),
    reason="neither pyg-lib nor torch_sparse is installed",
)


def make_graph(num_users=40, num_items=30, density=0.15):
    """Nodes of every degree, also without an edge, and an empty relation."""
    generator = torch.Generator().manual_seed(0)
    data = HeteroData()
    data["user"].num_nodes = num_users
    data["item"].x = torch.arange(num_items)
    seen = torch.rand(num_users, num_items, generator=generator) < density
    seen[::7] = False
    seen[:, 3] = True
    user, item = seen.nonzero().t()
    perm = torch.randperm(user.numel(), generator=generator)
    edge_index = torch.stack([user, item])[:, perm]
    data[INTERACTS].edge_index = edge_index
    data[REVERSE].edge_index = edge_index.flip(0)
    similar = torch.rand(num_items, num_items, generator=generator) < density
    data[SIMILAR].edge_index = similar.nonzero().t()
    data[EMPTY].edge_index = torch.empty(2, 0, dtype=torch.long)
    for store in data.edge_stores:
        store.edge_attr = torch.rand(store.num_edges, generator=generator)
    return data


def link_loader(data, num_neighbors, **kwargs):
    sampler = UniformNeighborSampler(data, num_neighbors)
    edges = INTERACTS, data[INTERACTS].edge_index
    return LinkLoader(data, sampler, edges, batch_size=5, **kwargs)


def global_edges(batch, edge_type):
    """The edges of a batch in the numbering of the graph, sorted by it."""
    source, _, target = edge_type
    row, col = batch[edge_type].edge_index
    edge = batch[edge_type].e_id
    perm = edge.argsort()
    row, col = batch[source].n_id[row], batch[target].n_id[col]
    return torch.stack([row, col, edge])[:, perm]


@pytest.mark.parametrize(
    ("degree", "number"), [(2, 1), (3, 2), (5, 1), (5, 2), (5, 4), (7, 3)]
)
def test_every_set_of_neighbors_is_equally_likely(degree, number):
    torch.manual_seed(degree)
    colptr = torch.tensor([0, 4, 4 + degree])
    node = torch.ones(20_000, dtype=torch.long)
    col, edge = draw_edges(colptr, node, number)
    assert torch.equal(col, torch.arange(20_000).repeat_interleave(number))
    drawn = (edge - 4).view(-1, number).sort().values
    count = []
    for subset in combinations(range(degree), number):
        is_subset = (drawn == torch.tensor(subset)).all(dim=1)
        count.append(int(is_subset.sum()))
    # Without replacement, nothing but these sets is there:
    assert sum(count) == 20_000
    count = torch.tensor(count, dtype=torch.double)
    expected = 20_000 / len(count)
    chi_square = float((count - expected).square().sum() / expected)
    freedom = len(count) - 1
    # The mean and five standard deviations of the distribution:
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


def test_hubs_cost_no_more_than_what_is_drawn():
    """Nothing of the size of so many neighbors could be made."""
    torch.manual_seed(0)
    degree = 10**12
    node = torch.zeros(10_000, dtype=torch.long)
    _, edge = draw_edges(torch.tensor([0, degree]), node, 10)
    tenth = edge.div(degree // 10, rounding_mode="floor").bincount()
    assert tenth.shape == (10,)
    # Binomial, with a deviation of 95:
    assert bool(((tenth - 10_000).abs() < 5 * 95).all())


@pytest.mark.parametrize("number", [-1, 3, 100])
def test_all_of_few_neighbors(number):
    colptr = torch.tensor([0, 0, 3, 4, 4, 6])
    node = torch.tensor([4, 0, 2, 1, 3])
    col, edge = draw_edges(colptr, node, number)
    assert col.tolist() == [0, 0, 2, 3, 3, 3]
    assert edge.tolist() == [4, 5, 3, 0, 1, 2]


def test_no_neighbors_of_few_and_many():
    colptr = torch.tensor([0, 0, 3, 6])
    for drawn in draw_edges(colptr, torch.tensor([2, 0, 1]), 0):
        assert drawn.shape == (0,)
    for drawn in draw_edges(colptr, torch.tensor([], dtype=torch.long), 2):
        assert drawn.shape == (0,)


def test_by_hand():
    """Two hops from the pair of user 2 and item 1."""
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 4, 3
    pairs = torch.tensor([[3, 2, 0, 2, 3, 1], [2, 1, 1, 0, 0, 2]])
    data[INTERACTS].edge_index = pairs
    data[REVERSE].edge_index = pairs.flip(0)
    sampler = UniformNeighborSampler(data, [-1, -1])
    edges = INTERACTS, torch.tensor([[2], [1]])
    (batch,) = LinkLoader(data, sampler, edges)
    # Item 1 leads to user 0, user 2 to item 0, and that one to user 3. Whose
    # items are not read any more.
    assert batch["user"].n_id.tolist() == [2, 0, 3]
    assert batch["item"].n_id.tolist() == [1, 0]
    assert batch["user"].num_nodes == 3
    assert batch["item"].num_nodes == 2
    assert batch["user"].num_sampled_nodes == [1, 1, 1]
    assert batch["item"].num_sampled_nodes == [1, 1, 0]
    assert batch[INTERACTS].edge_index.tolist() == [[0, 1, 0, 2], [0, 0, 1, 1]]
    assert batch[INTERACTS].e_id.tolist() == [1, 2, 3, 4]
    assert batch[INTERACTS].num_sampled_edges == [2, 2]
    assert batch[REVERSE].edge_index.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert batch[REVERSE].e_id.tolist() == [1, 3, 2]
    assert batch[REVERSE].num_sampled_edges == [2, 1]
    assert batch[INTERACTS].edge_label_index.tolist() == [[0], [0]]
    assert batch[INTERACTS].input_id.tolist() == [0]


def test_drawn_edges_are_edges_of_the_graph():
    torch.manual_seed(0)
    data = make_graph()
    num_neighbors = {
        INTERACTS: [3, 2],
        REVERSE: [2, -1],
        SIMILAR: [1, 0],
        EMPTY: [4, 4],
    }
    by_chance = 0
    for batch in link_loader(data, num_neighbors):
        for key in data.node_types:
            n_id = batch[key].n_id
            assert n_id.unique().numel() == n_id.numel()
            assert sum(batch[key].num_sampled_nodes) == n_id.numel()
            assert len(batch[key].num_sampled_nodes) == 3
        assert torch.equal(batch["item"].x, batch["item"].n_id)
        for edge_type, (first, second) in num_neighbors.items():
            row, col, edge = global_edges(batch, edge_type)
            found = torch.stack([row, col])
            assert torch.equal(found, data[edge_type].edge_index[:, edge])
            assert edge.unique().numel() == edge.numel()
            store = batch[edge_type]
            attr = data[edge_type].edge_attr[store.e_id]
            assert torch.equal(store.edge_attr, attr)
            # Every node has its turn once, with what there is for it:
            target = edge_type[2]
            degree = (
                data[edge_type]
                .edge_index[1]
                .bincount(minlength=data[target].num_nodes)[batch[target].n_id]
            )
            seeds, new, _ = batch[target].num_sampled_nodes
            expected = torch.zeros_like(degree)
            hops = [slice(0, seeds), slice(seeds, seeds + new)]
            for hop, number in zip(hops, (first, second), strict=True):
                most = number if number >= 0 else len(degree) * 100
                expected[hop] = degree[hop].clamp(max=most)
                by_chance += int((degree[hop] > most).sum())
            local = store.edge_index[1]
            assert torch.equal(local, local.sort().values)
            assert torch.equal(local.bincount(minlength=len(degree)), expected)
            parts = [int(expected[hop].sum()) for hop in hops]
            assert store.num_sampled_edges == parts
    assert by_chance > 100


@needs_pyg_sampler
@pytest.mark.filterwarnings("ignore:.*pyg-lib.*")
@pytest.mark.parametrize("neg_sampling", [None, "triplet"])
@pytest.mark.parametrize("num_hops", [1, 2])
def test_equal_to_pyg_for_all_neighbors(num_hops, neg_sampling):
    data = make_graph(density=0.04)
    edges = INTERACTS, data[INTERACTS].edge_index[:, -8:]
    hops = [-1] * num_hops
    options = {"batch_size": 4, "neg_sampling": neg_sampling}
    sampler = UniformNeighborSampler(data, hops)
    seeds = "item", torch.tensor([7, 2, 29])
    pairs = (
        (
            LinkLoader(data, sampler, edges, **options),
            LinkNeighborLoader(data, hops, edges, **options),
        ),
        (
            NodeLoader(data, sampler, seeds, batch_size=2),
            NeighborLoader(data, hops, seeds, batch_size=2),
        ),
    )
    for loaders in pairs:
        batches = []
        for loader in loaders:
            torch.manual_seed(0)  # The negatives are PyG's in both.
            batches.append(list(loader))
        for ours, theirs in zip(*batches, strict=True):
            assert ours.node_types == theirs.node_types
            assert ours.edge_types == theirs.edge_types
            for store, other in zip(ours.stores, theirs.stores, strict=True):
                # These come of pyg-lib alone.
                counts = {"num_sampled_nodes", "num_sampled_edges"}
                names = set(store.keys()) - counts
                assert names == set(other.keys()) - counts
                for name in names:
                    value, expected = store[name], other[name]
                    assert type(value) is type(expected), name
                    if isinstance(value, torch.Tensor):
                        assert value.dtype == expected.dtype, name
                        assert value.shape == expected.shape, name
            for key in data.node_types:
                found, expected = (b[key].n_id for b in (ours, theirs))
                assert torch.equal(found.sort().values, expected.sort().values)
            for edge_type in data.edge_types:
                found = global_edges(ours, edge_type)
                assert torch.equal(found, global_edges(theirs, edge_type))
            for key, name in (
                ("user", "src_index"),
                ("item", "dst_pos_index"),
                ("item", "dst_neg_index"),
                (INTERACTS, "input_id"),
                ("item", "input_id"),
            ):
                if name in ours[key]:  # Both number seeds in order.
                    assert torch.equal(ours[key][name], theirs[key][name])
            if "edge_label_index" in ours[INTERACTS]:
                assert torch.equal(
                    ours[INTERACTS].edge_label_index,
                    theirs[INTERACTS].edge_label_index,
                )


def test_the_seed_decides():
    loader = link_loader(make_graph(), [2, 2])

    def draw(seed):
        torch.manual_seed(seed)
        batches = list(loader)
        return [store.e_id for b in batches for store in b.edge_stores]

    first, again, other = draw(0), draw(0), draw(1)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_repeated_seeds():
    """Each place of a seed has the neighbors of its node, as loaders that
    draw with replacement ask for.
    """
    data, seeds = make_graph(), torch.tensor([1, 2, 1, 1, 5])
    sampler = UniformNeighborSampler(data, [-1, -1])
    batch = next(iter(NodeLoader(data, sampler, ("user", seeds), batch_size=5)))
    n_id = batch["user"].n_id
    assert n_id[:5].tolist() == seeds.tolist()
    assert len(n_id[4:].unique()) == len(n_id[4:])
    row, col = batch[REVERSE].edge_index
    for place in range(5):
        found = batch["item"].n_id[row[col == place]]
        user, item = data[INTERACTS].edge_index
        owned = item[user == seeds[place]]
        assert found.sort().values.tolist() == owned.sort().values.tolist()


def test_errors():
    data = make_graph()
    with pytest.raises(ValueError, match=r"'num_neighbors' .* \(got -2\)"):
        UniformNeighborSampler(data, [3, -2])
    with pytest.raises(ValueError, match="'num_neighbors' exist in the graph"):
        UniformNeighborSampler(data, {("user", "likes", "item"): [1]})
    with pytest.raises(ValueError, match="Missing number of neighbors"):
        UniformNeighborSampler(data, {INTERACTS: [1]})
    time = torch.zeros(data[INTERACTS].num_edges, dtype=torch.long)
    loader = link_loader(data, [2], edge_label_time=time)
    with pytest.raises(ValueError, match="leave out the time of the edges"):
        next(iter(loader))
    sampler = UniformNeighborSampler(data, [2])
    loader = NodeLoader(data, sampler, "user", input_time=time[:40])
    with pytest.raises(ValueError, match="leave out the time of the nodes"):
        next(iter(loader))

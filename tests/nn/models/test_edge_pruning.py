import torch
from toy_data import dense_interactions, edges_of

from tmfun_pyg.nn.models.edge_pruning import EdgePruning


def test_pruning_depends_on_the_epoch_alone(graph):
    prunings = [EdgePruning(0.5) for _ in range(2)]
    whole = edges_of(graph)
    drawn = []
    for epoch in range(5):
        first, second = (edges_of(prune(graph, epoch)) for prune in prunings)
        torch.rand(1)  # Other draws do not matter.
        assert first == second
        assert len(first) == round(0.5 * len(whole))
        assert first < whole
        drawn.append(frozenset(first))
    assert len(set(drawn)) > 1
    assert edges_of(prunings[0](graph, 0)) == drawn[0]
    assert edges_of(graph) == whole


def test_one_edge_is_kept_at_least(graph):
    assert len(edges_of(EdgePruning(0.999)(graph, 0))) == 1


def test_edges_are_drawn_by_degree(data, graph):
    """The first draw has the probabilities of the weights."""
    r = dense_interactions(data)
    weight = r / (r.sum(1, keepdim=True) * r.sum(0)).clamp(min=1).sqrt()
    num_edges = int(r.sum())
    prune = EdgePruning(1 - 1 / num_edges)
    count = torch.zeros_like(r)
    num_epochs = 1000
    for epoch in range(num_epochs):
        ((user, item),) = edges_of(prune(graph, epoch))
        count[user, item] += 1
    expected = num_epochs * weight / weight.sum()
    assert expected[r > 0].max() > 1.5 * expected[r > 0].min()
    statistic = ((count - expected) ** 2 / expected)[r > 0].sum()
    # Chi-squared: its mean, and six standard deviations.
    assert statistic < num_edges - 1 + 6 * (2 * (num_edges - 1)) ** 0.5
    assert count[r == 0].sum() == 0


def test_what_is_left_is_normalized_anew(graph):
    pruned = EdgePruning(0.5)(graph, 0)
    left = torch.zeros(pruned["user"].num_nodes, pruned["item"].num_nodes)
    user, item = torch.tensor(sorted(edges_of(pruned))).t()
    left[user, item] = 1.0
    degree = left.sum(dim=1), left.sum(dim=0)
    for node_type in ("user", "item"):  # Those of the whole graph.
        assert torch.equal(pruned[node_type].degree, graph[node_type].degree)
    store = pruned["user", "interacts", "item"]
    user, item = store.edge_index.as_tensor()
    torch.testing.assert_close(
        store.edge_weight, (degree[0][user] * degree[1][item]).rsqrt()
    )


def test_nothing_is_left_out(graph):
    assert EdgePruning(0.0)(graph, 0) is graph

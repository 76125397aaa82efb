import importlib

import pytest
import torch
from dense_content import item_mask
from dense_tmfun import dense_user_means
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions, make_data

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.transforms import ToRecGraph

# Of which the name is that of a function in it, too:
module = importlib.import_module("tmfun_pyg.nn.models.user_content")
user_content = module.user_content


def draw(missing):
    """A data set, and a source for each modality and for any of them."""
    data = make_data(2, missing)
    store = data["user", "interacts", "item"]
    is_second = (store.edge_index == torch.tensor([[1], [3]])).all(dim=0)
    assert is_second.sum() == 1  # User 1 then has item 1 alone.
    store.edge_index = store.edge_index[:, ~is_second]
    sources = [torch.randn(NUM_ITEMS, 3, requires_grad=True) for _ in range(3)]
    masks = [item_mask(data, name) for name in ("m0", "m1")]
    masks.append(masks[0] | masks[1])
    return data, sources, masks


def pairs(data):
    """All users with all items, their own and others."""
    user = torch.arange(NUM_USERS).repeat_interleave(NUM_ITEMS)
    return user, torch.arange(NUM_ITEMS).repeat(NUM_USERS)


def dense_means(data, sources, masks, user=None, exclude=None):
    r = dense_interactions(data)
    rows = [
        dense_user_means(r, x, mask, user, exclude)
        for x, mask in zip(sources, masks, strict=False)
    ]
    means, present = zip(*rows, strict=True)
    return list(means), torch.stack(present, dim=1)


@pytest.fixture(params=["few entries", "many entries"])
def way(request, monkeypatch):
    """Both ways to the rows of a batch."""
    few = request.param == "few entries"
    monkeypatch.setattr(module, "_has_few_entries", lambda *_: few)


@pytest.mark.parametrize("missing", [False, True])
def test_means_of_all(missing):
    data, sources, masks = draw(missing)
    found, mask = user_content(ToRecGraph()(data), sources)
    expected, present = dense_means(data, sources, masks)
    torch.testing.assert_close(found, expected)
    assert torch.equal(mask, present)
    assert not mask[-1].any()  # The last user has no items at all.
    assert not found[0][-1].any()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.usefixtures("way")
def test_means_of_rows(missing):
    data, sources, masks = draw(missing)
    user = torch.tensor([3, 0, 6, 3, 1])
    found, mask = user_content(ToRecGraph()(data), sources, user)
    expected, present = dense_means(data, sources, masks, user)
    torch.testing.assert_close(found, expected)
    assert torch.equal(mask, present)
    probes = [torch.randn_like(mean) for mean in found]
    torch.testing.assert_close(
        torch.autograd.grad(found, sources, probes),
        torch.autograd.grad(expected, sources, probes),
    )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.usefixtures("way")
def test_one_item_left_out(missing):
    """For all pairs: users of one item, of one with content, of none; items
    of the user and of others, with and without content.
    """
    data, sources, masks = draw(missing)
    graph = ToRecGraph()(data)
    user, item = pairs(data)
    found, mask = user_content(graph, sources, user, item)
    expected, present = dense_means(data, sources, masks, user, item)
    torch.testing.assert_close(found, expected)
    assert torch.equal(mask, present)
    probes = [torch.randn_like(mean) for mean in found]
    torch.testing.assert_close(
        torch.autograd.grad(found, sources, probes),
        torch.autograd.grad(expected, sources, probes),
    )

    # What the cases are, lest the data changes and they are gone:
    r = dense_interactions(data)
    is_own = r[user, item] > 0
    unchanged, had = user_content(graph, sources, user)
    for c, mask_c in enumerate(masks):
        count = (r * mask_c).sum(dim=1)[user]
        counts = is_own & mask_c[item]
        lost = counts & (count == 1)
        assert torch.equal(had[:, c] & ~mask[:, c], lost)
        assert not found[c][lost].any()
        torch.testing.assert_close(found[c][~counts], unchanged[c][~counts])
        assert not torch.isclose(found[c][counts], unchanged[c][counts]).any()
        assert (counts & ~lost).any()
        assert (count == 0).any()
        assert (is_own & ~mask_c[item]).any() == missing
    assert ((had & ~mask).any(dim=1)).any()


def test_user_with_one_item():
    """Nothing is left of who has one item, by hand."""
    data = make_data(1, missing=False)
    edge_index = torch.tensor([[0, 1, 1], [2, 2, 4]])
    data["user", "interacts", "item"].edge_index = edge_index
    x = torch.arange(float(NUM_ITEMS)).view(-1, 1)
    user, exclude = torch.tensor([[0, 0, 1, 1, 1], [2, 4, 2, 4, 0]])
    (found,), mask = user_content(ToRecGraph()(data), [x], user, exclude)
    torch.testing.assert_close(
        found.flatten(), torch.tensor([0.0, 2.0, 4.0, 2.0, 3.0])
    )
    assert mask[:, 0].tolist() == [False, True, True, True, True]


def test_long_profiles():
    """Where an item is a small part of a mean."""
    torch.manual_seed(0)
    data = make_data(1, missing=False)
    num_items = 3000
    data["item"].num_nodes = num_items
    data["item"].x_m0 = torch.randn(num_items, 3)
    user = torch.tensor([0, 1]).repeat_interleave(num_items)
    item = torch.arange(num_items).repeat(2)
    kept = torch.rand(2 * num_items) < torch.where(user == 0, 1.0, 0.1)
    edge_index = torch.stack([user, item])[:, kept]
    data["user", "interacts", "item"].edge_index = edge_index
    x = torch.randn(num_items, 4)
    user, exclude = edge_index[:, ::97]
    (found,), _ = user_content(ToRecGraph()(data), [x], user, exclude)
    r = dense_interactions(data)[user]
    r[torch.arange(len(user)), exclude] = 0.0
    expected = r @ x / r.sum(dim=1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_which_way_is_faster():
    data = make_data(2, missing=False)
    graph = ToRecGraph()(data)
    degree = dense_interactions(data).sum(dim=1)
    assert degree[4] == 3  # Of 14, beside which items are scaled.
    most = (14 + data["item"].num_nodes - 1) // 6
    for rows, is_few in ((most, True), (most + 1, False)):
        found = module._has_few_entries(graph, torch.full((rows,), 4))
        assert found == is_few


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.usefixtures("way")
def test_sampled_batches(missing):
    """With all neighbors drawn, users know what they know in the whole."""
    data, sources, masks = draw(missing)
    dataset = SampledInteractionDataset(ToRecGraph()(data), [-1, -1], -1)
    batch = dataset[torch.arange(len(dataset))]
    n_id = batch["item"].n_id
    local = [x[n_id] for x in sources]
    for user, item in (
        (batch["user"].src_index, batch["item"].dst_pos_index),
        (batch["user"].src_index, batch["item"].dst_neg_index[:, 0]),
    ):
        found, mask = user_content(batch, local, user, item)
        expected, present = dense_means(
            data, sources, masks, batch["user"].n_id[user], n_id[item]
        )
        torch.testing.assert_close(found, expected)
        assert torch.equal(mask, present)


def test_mean_over_what_was_drawn():
    """Also where one item is left out."""
    torch.manual_seed(0)
    data, sources, _ = draw(missing=True)
    dataset = SampledInteractionDataset(ToRecGraph()(data), [2, 2], 1)
    batch = dataset[torch.arange(len(dataset))]
    local = [x[batch["item"].n_id] for x in sources]
    user, item = batch["user"].src_index, batch["item"].dst_pos_index
    found, mask = user_content(batch, local, user, item)
    r = torch.zeros(batch["user"].num_nodes, batch["item"].num_nodes)
    r[tuple(batch["user", "interacts", "item"].edge_index.as_tensor())] = 1.0
    for c, x in enumerate(local):
        own = r[user] * batch["item"].mask[:, c]
        own[torch.arange(len(user)), item] = 0.0
        count = own.sum(dim=1, keepdim=True)
        torch.testing.assert_close(found[c], own @ x / count.clamp(min=1))
        assert torch.equal(mask[:, c], count.flatten() > 0)


def test_exclude_without_user():
    data, sources, _ = draw(missing=False)
    with pytest.raises(ValueError, match="'exclude' needs the 'user'"):
        user_content(ToRecGraph()(data), sources, exclude=torch.arange(7))

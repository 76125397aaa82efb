import pytest
import torch
from dense_content import (
    assert_same_loss,
    assert_state_is_free_of_data,
    dense_info_nce,
    dense_ranking_loss,
    dense_similar,
    draw_parameters,
    item_mask,
    normalized_features,
)
from toy_data import (
    NUM_USERS,
    dense_interactions,
    dense_light_gcn,
    make_data,
)

from tmfun_pyg.nn import MGCN


def dense_branches(model, data):
    """The behavior and the fused representations of all nodes."""
    item_emb = model.item_embedding.weight
    behavior = dense_light_gcn(
        data, model.user_embedding.weight, item_emb, model.num_layers
    )
    r = dense_interactions(data)
    normalized = r / (r.sum(1, keepdim=True) * r.sum(0)).clamp(min=1).sqrt()
    h, present = [], []
    for name in model.modalities:
        x = normalized_features(data, name)
        for linear in model.purifiers[name]:
            x = x @ linear.weight.t() + linear.bias
        items = item_emb * x.sigmoid()
        for _ in range(model.feature_conv.num_layers):
            items = dense_similar(data, name) @ items
        h.append(torch.cat([normalized @ items, items]))
        mask = item_mask(data, name)
        present.append(torch.cat([(r @ mask.float()) > 0, mask]))

    key, query = model.attention.lin_key, model.attention.att[0]
    weight = model.preference.weight.view(len(h), -1, model.channels)
    bias = model.preference.bias.view(len(h), -1)
    rows = []
    for n in range(len(behavior)):
        fused = torch.zeros(model.channels)
        own = [m for m in range(len(h)) if present[m][n]]
        if own:
            x = torch.stack([h[m][n] for m in own])
            score = (x @ key.weight.t() + key.bias).tanh() @ query
            shared = score.softmax(dim=0) @ x
            fused = shared
            for m in own:
                gate = (weight[m] @ behavior[n] + bias[m]).sigmoid()
                fused = fused + gate * (h[m][n] - shared)
        rows.append(fused / (len(h) + 1))
    return behavior, torch.stack(rows), torch.stack(present).any(dim=0)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("contrast_size", [2, None])
@pytest.mark.parametrize("num_feature_layers", [1, 2])
def test_dense_reference(
    batch, num_modalities, missing, contrast_size, num_feature_layers
):
    data = make_data(num_modalities, missing)
    model = MGCN.from_data(
        data,
        channels=4,
        num_layers=2,
        num_feature_layers=num_feature_layers,
        contrastive_weight=0.7,
        contrast_size=contrast_size,
        reg_weight=0.1,
    )
    draw_parameters(model)
    behavior, fused, mask = dense_branches(model, data)
    expected = (behavior + fused).split([NUM_USERS, model.num_items])
    torch.testing.assert_close(model(), expected, rtol=1e-5, atol=1e-5)

    parts = dense_ranking_loss(model, *expected, *batch)
    parts["contrastive"] = 0.7 * sum(
        dense_info_nce(fused, behavior, node[:contrast_size], mask, 0.2)
        for node in (batch[0], batch[1] + NUM_USERS)
    )
    assert_same_loss(model, model.loss(*batch), parts)


def test_without_contrast(data, batch):
    model = MGCN.from_data(data, contrastive_weight=0.0)
    assert set(model.loss(*batch)) == {"bpr", "reg"}


def test_missing_features_are_never_read(data, batch):
    model = MGCN.from_data(data, channels=4)
    expected = model(), model.loss(*batch)
    data["item"].x_m0[:2] = 1e6
    data["item"].x_m1[0] = 1e6
    model.bind(data)
    torch.testing.assert_close((model(), model.loss(*batch)), expected)
    behavior, _, _ = dense_branches(model, data)
    torch.testing.assert_close(model()[1][0], behavior[NUM_USERS])


def test_state(data):
    assert_state_is_free_of_data(MGCN.from_data(data))


def test_errors(data):
    with pytest.raises(ValueError, match="names no modality: MGCN"):
        MGCN(7, 6, in_channels={})
    with pytest.raises(ValueError, match=r"'contrast_size' .* \(got 0\)"):
        MGCN.from_data(data, contrast_size=0)

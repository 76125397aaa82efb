import pytest
import torch
from dense_content import (
    assert_same_loss,
    dense_info_nce,
    dense_learned_graph,
    dense_ranking_loss,
    draw_parameters,
    item_mask,
)
from toy_data import dense_light_gcn, make_data

from tmfun_pyg.nn import MICRO


def dense_representations(model, data, k, skip_weight):
    """Those of each modality, and the fused ones."""
    h = []
    for name in model.modalities:
        a = dense_learned_graph(model, data, name, k, skip_weight)
        x = model.item_embedding.weight
        for _ in range(model.num_feature_layers):
            x = a @ x
        h.append(x)
    key, query = model.attention.lin_key, model.attention.att[0]
    rows = []
    for i in range(model.num_items):
        fused = torch.zeros(model.channels)
        present = [
            x[i]
            for x, name in zip(h, model.modalities, strict=True)
            if item_mask(data, name)[i]
        ]
        if present:
            score = [
                query @ (key.weight @ x + key.bias).tanh() for x in present
            ]
            weight = torch.stack(score).softmax(dim=0)
            fused = weight @ torch.stack(present)
        rows.append(fused)
    return h, torch.stack(rows)


@pytest.mark.parametrize("num_modalities", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("contrast_size", [2, None])
@pytest.mark.parametrize("num_feature_layers", [1, 2])
def test_dense_reference(
    batch, num_modalities, missing, contrast_size, num_feature_layers
):
    data = make_data(num_modalities, missing)
    kwargs = {"k": 2, "skip_weight": 0.3}
    model = MICRO.from_data(
        data,
        channels=4,
        num_layers=2,
        num_feature_layers=num_feature_layers,
        contrastive_weight=0.7,
        contrast_size=contrast_size,
        reg_weight=0.1,
        **kwargs,
    )
    draw_parameters(model)
    model.start_epoch(0)
    users, items = dense_light_gcn(
        data, model.user_embedding.weight, model.item_embedding.weight, 2
    ).split([model.num_users, model.num_items])
    h, fused = dense_representations(model, data, **kwargs)
    norm = fused.pow(2).sum(dim=1, keepdim=True)
    norm = norm.where(norm > 0, 1.0).sqrt()
    expected = users, items + fused / norm
    torch.testing.assert_close(model(), expected, rtol=1e-5, atol=1e-5)

    parts = dense_ranking_loss(model, *expected, *batch)
    parts["contrastive"] = 0.7 * sum(
        dense_info_nce(
            x, fused, batch[1][:contrast_size], item_mask(data, name), 0.5
        )
        for x, name in zip(h, model.modalities, strict=True)
    )
    assert_same_loss(model, model.loss(*batch), parts)


def test_without_contrast(data, batch):
    model = MICRO.from_data(data, contrastive_weight=0.0)
    assert set(model.loss(*batch)) == {"bpr", "reg"}


def test_missing_features_are_never_read(data, batch):
    model = MICRO.from_data(data, channels=4, skip_weight=0.0)
    expected = model(), model.loss(*batch)
    data["item"].x_m0[:2] = 1e6
    data["item"].x_m1[0] = 1e6
    model.bind(data)
    torch.testing.assert_close((model(), model.loss(*batch)), expected)


def test_restored_model_has_the_same_neighbors(data):
    model, other = (MICRO.from_data(data, k=1) for _ in range(2))
    for parameter in model.parameters():  # After the search of an epoch.
        torch.nn.init.normal_(parameter)
    expected = model()
    other.load_state_dict(model.state_dict())
    for found, reference in zip(other(), expected, strict=True):
        assert torch.equal(found, reference)
    names = {name for name, _ in model.named_parameters()}
    added = {f"learned.{m}._extra_state" for m in model.modalities}
    assert set(model.state_dict()) == names | added


def test_errors(data):
    with pytest.raises(ValueError, match="names no modality: MICRO"):
        MICRO(7, 6, in_channels={})
    with pytest.raises(ValueError, match=r"'contrast_size' .* \(got 0\)"):
        MICRO.from_data(data, contrast_size=0)

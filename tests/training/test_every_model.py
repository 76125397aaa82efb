"""Whatever is true of all models in training."""

import pytest
import torch
from every_model import MODELS
from lightning.pytorch import Trainer, seed_everything

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN, MultimodalModel
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph
from tmfun_pyg.utils.retrieval import blocked_topk


@pytest.fixture(scope="module")
def dataset():
    return SyntheticMultimodal(
        60,
        50,
        {"visual": 6, "textual": 5},
        missing={"visual": 0.3, "textual": 0.5},
        pre_transform=FeatureGraph(k=4),
    )


@pytest.fixture(scope="module")
def data(dataset):
    return ToRecGraph()(dataset[0])


def make_module(model_cls, data, seed):
    seed_everything(seed, verbose=False)
    model = model_cls.from_data(data, channels=8)
    return RecommenderModule(model, data, lr=0.01)


@pytest.mark.parametrize("model_cls", MODELS)
def test_trains_and_is_restored(model_cls, data, tmp_path):
    module = make_module(model_cls, data, seed=0)
    before = [parameter.clone() for parameter in module.parameters()]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=default_callbacks(str(tmp_path)),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, InteractionDataModule(data, batch_size=64))
    metrics = trainer.callback_metrics
    assert metrics["train_loss"].isfinite()
    assert 0 < metrics["val_recall@20"] <= 1
    after = list(module.parameters())
    assert all(bool(parameter.isfinite().all()) for parameter in after)
    assert not all(map(torch.equal, before, after))

    # Another process would begin with other weights:
    other = make_module(model_cls, data, seed=1)
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    other.load_state_dict(last["state_dict"])
    every = [blocked_topk(m.model.scorer(data), 50) for m in (module, other)]
    for expected, found in zip(*every, strict=True):
        assert torch.equal(found, expected)


def fit_one_epoch(module, data, precision, **kwargs):
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    datamodule = InteractionDataModule(data, batch_size=64, **kwargs)
    trainer.fit(module, datamodule)
    return trainer.callback_metrics


@pytest.mark.parametrize("model_cls", MODELS)
def test_double_precision(model_cls, dataset, data):
    module = make_module(model_cls, data, seed=0)
    metrics = fit_one_epoch(module, data, "64-true")
    model = module.model
    assert {p.dtype for p in model.parameters()} == {torch.double}
    assert metrics["train_loss"].isfinite()
    expected = evaluate(model, data, "val")
    found = {k: metrics[f"val_{k}"].item() for k in expected}
    assert found == pytest.approx(expected, abs=1e-7)
    assert Recommender(model, dataset).evaluate("val") == expected


def test_double_precision_of_samples(data):
    module = make_module(TMFUN, data, seed=0)
    kwargs = {"num_neighbors": [2, 2, 2, 2], "num_similar": 2}
    metrics = fit_one_epoch(module, data, "64-true", **kwargs)
    assert metrics["train_loss"].isfinite()


@pytest.mark.parametrize("model_cls", MODELS)
def test_half_precision_of_weights(model_cls, data):
    """Works where nothing but interactions is read, or is refused."""
    module = make_module(model_cls, data, seed=0)
    if not issubclass(model_cls, MultimodalModel):
        metrics = fit_one_epoch(module, data, "bf16-true")
        assert metrics["train_loss"].isfinite()
        return
    message = "weights of torch.bfloat16 cannot .* of torch.float32: train in"
    with pytest.raises(ValueError, match=message):
        fit_one_epoch(module, data, "bf16-true")

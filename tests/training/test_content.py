"""Content has to pay where there is some, and only there."""

from typing import Any, Type

from lightning.pytorch import Trainer, seed_everything

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN, LightGCN, RankingModel
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph


def recall(model_cls: Type[RankingModel], **kwargs: Any) -> float:
    dataset = SyntheticMultimodal(
        1000, 800, mean_interactions=4.5, pre_transform=FeatureGraph(), **kwargs
    )
    data = ToRecGraph()(dataset[0])
    seed_everything(0)
    model = model_cls.from_data(data)
    if model_cls is not MostPopular:
        Trainer(
            accelerator="cpu",
            max_epochs=12,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            limit_val_batches=0,
        ).fit(
            RecommenderModule(model, data, lr=5e-3),
            InteractionDataModule(data, batch_size=512),
        )
    return evaluate(model, data, "test")["recall@20"]


def test_content_is_used() -> None:
    popular = recall(MostPopular)
    lightgcn = recall(LightGCN)
    tmfun = recall(TMFUN)
    without_signal = recall(TMFUN, signal=0.0)
    assert lightgcn > 1.1 * popular
    # The interactions are the same, with signal and without:
    assert tmfun > 1.3 * lightgcn
    assert tmfun > 1.3 * without_signal

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

import pytest
import torch
from every_model import MODELS
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import HeteroData
from torch_geometric.testing import withDevice

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.loader import HeldOutDataset
from tmfun_pyg.nn import (
    BM3,
    FREEDOM,
    LATTICE,
    TMFUN,
    Embeddings,
    LightGCN,
    RankingModel,
    SimGCL,
)
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
    interaction_data_module,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph


@pytest.fixture(scope="module")
def dataset() -> SyntheticMultimodal:
    return SyntheticMultimodal(
        60, 80, mean_interactions=12, pre_transform=FeatureGraph(k=5)
    )


@pytest.fixture
def data(dataset: SyntheticMultimodal) -> HeteroData:
    return ToRecGraph()(dataset[0])


class _Noisy(LightGCN):
    r"""Adds noise in training, and remembers how it was called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: Dict[bool, int] = {True: 0, False: 0}

    def forward(self, data: HeteroData) -> Tuple[Tensor, Tensor]:
        self.calls[self.training] += 1
        user_emb, item_emb = super().forward(data)
        return user_emb + 100 * self.training, item_emb

    def loss(self, *args: Any) -> Dict[str, torch.Tensor]:
        self.calls[self.training] += 1
        return super().loss(*args)


def fit(
    dataset: SyntheticMultimodal,
    path: Path,
    max_epochs: int,
    model_cls: type[RankingModel] = LightGCN,
    ckpt_path: Optional[str] = None,
    lr: float = 0.01,
    loader: Optional[Dict[str, Any]] = None,
    **kwargs: Any,
) -> Tuple[RecommenderModule, Trainer]:
    seed_everything(0)
    data = ToRecGraph()(dataset[0])
    model = model_cls.from_data(data, channels=8)
    module = RecommenderModule(model, data, lr=lr, dataset=dataset)
    trainer = Trainer(
        max_epochs=max_epochs,
        default_root_dir=path,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=default_callbacks(str(path), patience=10),
        logger=CSVLogger(path, name="", version=""),
        **{"accelerator": "cpu", **kwargs},
    )
    datamodule = InteractionDataModule(data, batch_size=64, **(loader or {}))
    trainer.fit(module, datamodule, ckpt_path=ckpt_path)
    return module, trainer


def test_metrics_are_those_of_evaluate(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    module, trainer = fit(dataset, tmp_path, max_epochs=1, model_cls=_Noisy)
    expected = evaluate(module.model, data, "val")
    logged = trainer.callback_metrics
    for name, value in expected.items():
        assert float(logged[f"val_{name}"]) == pytest.approx(value)
    assert float(logged["train_loss"]) == pytest.approx(
        float(logged["train_bpr"] + logged["train_reg"]), rel=1e-5
    )

    datamodule = InteractionDataModule(data)
    (tested,) = trainer.test(module, datamodule, verbose=False)
    for name, value in evaluate(module.model, data, "test").items():
        assert tested[f"test_{name}"] == pytest.approx(value)


def test_validation_on_a_sample(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    every = HeldOutDataset(data, "val").users
    draws = [
        InteractionDataModule(data, seed=seed, val_users=10).val_sample
        for seed in (0, 0, 1)
    ]
    drawn = draws[0]
    assert drawn is not None
    assert len(drawn) == 10
    assert torch.isin(drawn, every).all()
    assert (drawn.diff() > 0).all()
    assert torch.equal(drawn, draws[1])
    assert not torch.equal(drawn, draws[2])
    for number in (None, len(every), 20_000):
        whole = InteractionDataModule(data, val_users=number)
        assert whole.val_sample is None
        assert whole.state_dict() == {}

    loader = {"val_users": 10}
    module, trainer = fit(dataset, tmp_path, max_epochs=2, loader=loader)
    for name, value in evaluate(module.model, data, "val", users=drawn).items():
        logged = float(trainer.callback_metrics[f"val_{name}"])
        assert logged == pytest.approx(value)
    (tested,) = trainer.test(module, trainer.datamodule, verbose=False)
    expected = evaluate(module.model, data, "test")["recall@20"]
    assert tested["test_recall@20"] == pytest.approx(expected)

    # A run that goes on keeps the users, whatever would be drawn now:
    last = str(tmp_path / "last.ckpt")
    content = torch.load(last, weights_only=True)
    saved = content["InteractionDataModule"]["val_sample"]
    assert torch.equal(saved, drawn)
    loader["seed"] = 1
    _, trainer = fit(dataset, tmp_path, 3, ckpt_path=last, loader=loader)
    assert torch.equal(trainer.datamodule.val_sample, drawn)
    assert trainer.callback_metrics["val_recall@20"] == pytest.approx(
        evaluate(trainer.model.model, data, "val", users=drawn)["recall@20"]
    )


def test_sample_of_another_run(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    fit(dataset, tmp_path, max_epochs=1, loader={"val_users": 10})
    last = str(tmp_path / "last.ckpt")
    for number in (9, None):
        with pytest.raises(ValueError, match=r"must be 10 .* \(got (9|None)\)"):
            fit(
                dataset,
                tmp_path,
                2,
                ckpt_path=last,
                loader={"val_users": number},
            )
    loader = InteractionDataModule(data)
    bad: List[Any] = [{}, {"val_sample": [1]}, 5]
    for state in bad:
        with pytest.raises(ValueError, match="must hold the users of valid"):
            loader.load_state_dict(state)
    with pytest.raises(ValueError, match="'val_users' must be at least 1"):
        InteractionDataModule(data, val_users=0)


def test_training_mode_for_loss_alone(
    dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    module, trainer = fit(
        dataset,
        tmp_path,
        max_epochs=2,
        model_cls=_Noisy,
        num_sanity_val_steps=0,
    )
    assert isinstance(module.model, _Noisy)
    # Embeddings are computed once for all blocks of a validation.
    assert module.model.calls == {True: trainer.global_step, False: 2}


def test_training_finds_structure(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    seed_everything(0)
    before = evaluate(LightGCN.from_data(data, channels=8), data)
    module, _ = fit(dataset, tmp_path, max_epochs=5)
    after = evaluate(module.model, data)
    assert after["ndcg@20"] > before["ndcg@20"]


def test_checkpoints(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    module, trainer = fit(dataset, tmp_path, max_epochs=4)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        "best.ckpt",
        "last.ckpt",
    ]
    # Users load it without running anything that it might hold:
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["vocabulary"] == {
        "user_ids": list(range(60)),
        "item_ids": list(range(80)),
        "modalities": ["visual", "textual"],
    }
    module.load_state_dict(best["state_dict"])
    score = trainer.checkpoint_callback.best_model_score
    assert float(score) == pytest.approx(
        evaluate(module.model, data, "val")["recall@20"]
    )


def test_last_epoch_is_kept_without_progress(
    dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    fit(dataset, tmp_path, max_epochs=3, lr=0.0)
    epochs = [
        torch.load(tmp_path / name, weights_only=True)["epoch"]
        for name in ("best.ckpt", "last.ckpt")
    ]
    assert epochs == [0, 2]


class Ends(LightGCN):
    """Ends in the middle of the second epoch."""

    left = 0

    def loss(self, *args: Any) -> Dict[str, torch.Tensor]:
        Ends.left -= 1
        if Ends.left == 0:
            raise InterruptedError
        return super().loss(*args)


def test_last_epoch_is_a_whole_one(
    dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    """Where epochs are validated within, too, training goes on from the end
    of one, as if it had not been interrupted.
    """
    options = {"val_check_interval": 2}
    whole, trainer = fit(dataset, tmp_path / "a", 3, **options)
    num_steps = int(trainer.num_training_batches)
    assert num_steps > 4
    Ends.left = num_steps + 4  # After a validation.
    with pytest.raises(InterruptedError):
        fit(dataset, tmp_path / "b", 3, Ends, **options)
    path = tmp_path / "b" / "last.ckpt"
    last = torch.load(path, weights_only=True)
    assert (last["epoch"], last["global_step"]) == (0, num_steps)
    resumed, _ = fit(dataset, tmp_path / "b", 3, ckpt_path=str(path), **options)
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


@pytest.mark.parametrize(
    "model_cls", [LightGCN, TMFUN, FREEDOM, LATTICE, SimGCL, BM3]
)
def test_resumed_run_equals_undisturbed_one(
    model_cls: type[RankingModel], dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    undisturbed, whole = fit(dataset, tmp_path / "a", 4, model_cls)
    fit(dataset, tmp_path / "b", 2, model_cls)
    resumed, second = fit(
        dataset,
        tmp_path / "b",
        4,
        model_cls,
        ckpt_path=str(tmp_path / "b" / "last.ckpt"),
    )
    assert second.global_step == whole.global_step
    expected = undisturbed.state_dict()
    for name, value in resumed.state_dict().items():
        if name.endswith("_extra_state"):
            value, other = value["neighbors"], expected[name]["neighbors"]
            assert torch.equal(value, other), name
            continue
        assert torch.equal(value, expected[name]), name
    assert (
        second.checkpoint_callback.best_model_score
        == whole.checkpoint_callback.best_model_score
    )


def test_checkpoint_of_other_data(
    dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    fit(dataset, tmp_path, max_epochs=1)
    other = SyntheticMultimodal(60, 80)
    other.user_ids = other.user_ids + 1
    with pytest.raises(ValueError, match="with the fingerprint"):
        fit(other, tmp_path, 2, ckpt_path=str(tmp_path / "last.ckpt"))


@pytest.mark.parametrize("model_cls", [LightGCN, TMFUN])
def test_bf16(
    model_cls: type[RankingModel], dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        _, trainer = fit(
            dataset,
            tmp_path / precision,
            1,
            model_cls,
            precision=precision,
            limit_train_batches=2,
        )
        losses.append(float(trainer.callback_metrics["train_loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@withDevice
def test_batches_are_made_on_the_device(
    device: torch.device, dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    _, trainer = fit(
        dataset,
        tmp_path,
        max_epochs=1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
    )
    for loader in (trainer.train_dataloader, trainer.val_dataloaders):
        for part in next(iter(loader)):
            assert part.device.type == device.type


def test_data_module_without_trainer(data: HeteroData) -> None:
    datamodule = InteractionDataModule(data, batch_size=100, num_negatives=3)
    user, pos_item, neg_item = next(iter(datamodule.train_dataloader()))
    assert user.size() == pos_item.size() == (100,)
    assert neg_item.size() == (100, 3)
    # Ordinary tensors, whatever the graph is made of:
    for part in (user, pos_item, neg_item):
        assert type(part) is Tensor
    user, edge_label_index = next(iter(datamodule.test_dataloader()))
    assert int(edge_label_index[0].max()) == user.numel() - 1


def test_batch_size_is_that_of_all_processes(data: HeteroData) -> None:
    trainer = SimpleNamespace(
        world_size=2,
        global_rank=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=Trainer(accelerator="cpu", logger=False).fit_loop,
    )
    datamodule = InteractionDataModule(data, batch_size=100)
    datamodule.trainer = trainer  # type: ignore[assignment]
    user, _, _ = next(iter(datamodule.train_dataloader()))
    assert user.size() == (50,)
    datamodule.batch_size = 99
    with pytest.raises(ValueError, match=r"by their number 2 \(got 99\)"):
        datamodule.train_dataloader()


@pytest.mark.parametrize(
    ("num_edges", "kwargs", "batch_size", "lr_scale"),
    [
        (100, {}, 2048, 1.0),
        (2**18, {}, 2048, 1.0),
        (2**18 + 1, {}, 4096, 2**0.5),
        (9 * 2**18, {}, 9 * 2048, 3.0),
        (9 * 2**18, {"num_neighbors": [5]}, 2048, 1.0),
        (9 * 2**18, {"batch_size": 4096}, 4096, 1.0),
    ],
)
def test_batches_grow_with_the_log(
    num_edges: int, kwargs: Any, batch_size: int, lr_scale: float
) -> None:
    data = HeteroData()
    edge_index = torch.zeros(2, 1, dtype=torch.long).expand(2, num_edges)
    data["user", "interacts", "item"].edge_index = edge_index
    datamodule = InteractionDataModule(data, **kwargs)
    assert datamodule.batch_size == batch_size
    assert datamodule.lr_scale == lr_scale
    if "batch_size" not in kwargs and "num_neighbors" not in kwargs:
        assert -(-num_edges // batch_size) <= 128


def test_learning_rate_grows_with_the_batches(
    data: HeteroData, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    for size in (2**18, 100):  # Of all interactions.
        monkeypatch.setattr(interaction_data_module, "MAX_STEPS", size)
        monkeypatch.setattr(interaction_data_module, "BATCH_SIZE", 1)
        module = RecommenderModule(LightGCN.from_data(data), data, lr=0.01)
        trainer = Trainer(
            accelerator="cpu",
            fast_dev_run=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        datamodule = InteractionDataModule(data)
        trainer.fit(module, datamodule)
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    num_edges = data["user", "interacts", "item"].num_edges
    assert datamodule.batch_size == -(-num_edges // 100) > 1
    assert rates == [0.01, 0.01 * datamodule.batch_size**0.5]


def test_batch_size_that_is_no_number(data: HeteroData) -> None:
    with pytest.raises(ValueError, match="'batch_size' must be a whole number"):
        InteractionDataModule(data, batch_size="all")  # type: ignore[arg-type]


def test_diverged_training(
    dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="has the training diverged"):
        fit(dataset, tmp_path, max_epochs=1, lr=1e38)


class Valued(LightningModule):
    """Has a given validation metric in each epoch, the last one ever after."""

    def __init__(self, values: List[float]) -> None:
        super().__init__()
        self.values, self.linear = values, torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        return self.linear(batch).sum()

    def validation_step(self, batch: Tensor, index: int) -> None:
        value = self.values[min(self.current_epoch, len(self.values) - 1)]
        self.log("val_recall@20", value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize(
    ("patience", "values", "num_epochs"),
    [
        (3, [0.5, 0.4], 6),  # Those before epoch 3 do not count.
        (3, [0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.1], 9),
        (3, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.1], 9),
        (1, [0.5, 0.4], 2),
        (0, [0.5, 0.4], 2),
    ],
)
def test_patience_begins_late(
    patience: int, values: List[float], num_epochs: int, tmp_path: Path
) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=20,
        callbacks=default_callbacks(str(tmp_path), patience)[:1],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader = DataLoader(torch.ones(1, 1))
    trainer.fit(Valued(values), loader, loader)
    assert trainer.current_epoch == num_epochs


def test_default_callbacks() -> None:
    stopping, checkpoint = default_callbacks(patience=3)
    assert isinstance(stopping, EarlyStopping)
    assert isinstance(checkpoint, ModelCheckpoint)
    assert stopping.patience == 3
    assert stopping.monitor == checkpoint.monitor == "val_recall@20"
    assert stopping.mode == checkpoint.mode == "max"


class _Listener(LightGCN):
    r"""Remembers what epochs begin, and checks what graph it reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epochs: List[Optional[int]] = []

    def prepare(
        self, data: HeteroData, epoch: Optional[int] = None
    ) -> HeteroData:
        assert "prepared" not in data
        self.epochs.append(epoch)
        data = copy.copy(data)
        data.prepared = [epoch]
        return data

    def encode(self, data: HeteroData, *args: Any) -> Embeddings:
        (epoch,) = data.prepared
        assert epoch == self.epochs[-1]
        assert (epoch is not None) == self.training
        return super().encode(data, *args)


def test_model_is_told_what_epoch_begins(
    data: HeteroData, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    for max_epochs, ckpt_path, expected in (
        # Validation reads the graph as it is:
        (2, None, [0, None, 1, None]),
        (4, path, [2, None, 3, None]),
    ):
        model = _Listener.from_data(data)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=max_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            RecommenderModule(model, data),
            InteractionDataModule(data),
            ckpt_path=ckpt_path,
        )
        trainer.save_checkpoint(path)
        assert model.epochs == expected


class _Counting(FREEDOM):
    r"""Counts the interactions in the graphs it reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drawn: Dict[bool, List[Tensor]] = {True: [], False: []}

    def encode(self, data: HeteroData, *args: Any) -> Embeddings:
        edge_index = data["user", "interacts", "item"].edge_index
        self.drawn[self.training].append(edge_index.as_tensor())
        return super().encode(data, *args)


def test_pruned_in_training_and_whole_in_validation(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    module, trainer = fit(dataset, tmp_path, 2, _Counting)
    assert isinstance(module.model, _Counting)
    whole = data["user", "interacts", "item"].edge_index
    for edge_index in module.model.drawn[False]:
        assert torch.equal(edge_index, whole)
    drawn = module.model.drawn[True]
    assert len(drawn) == trainer.global_step
    # One draw an epoch:
    half = len(drawn) // 2
    for edge_index in drawn:
        assert edge_index.size(1) == round(0.2 * whole.size(1))
    for step, edge_index in enumerate(drawn):
        assert torch.equal(edge_index, drawn[half * (step // half)])
    assert not torch.equal(drawn[0], drawn[-1])
    logged = float(trainer.callback_metrics["val_recall@20"])
    expected = evaluate(module.model, data, "val")["recall@20"]
    assert logged == pytest.approx(expected)
    # The graph it was given is as it was:
    assert "similar" not in {edge_type[1] for edge_type in data.edge_types}
    assert torch.equal(module.data["item"].degree, data["item"].degree)


@pytest.mark.parametrize("model_cls", MODELS)
def test_state_holds_nothing_of_the_data(
    model_cls: type[RankingModel], data: HeteroData
) -> None:
    model = model_cls.from_data(data, channels=8)
    module = RecommenderModule(model, data)
    module.epoch_data = model.prepare(data, 0)
    model(data)
    parameters = {name for name, _ in module.named_parameters()}
    # What the content score treats features with is saved with the weights,
    # and of the size of features:
    widths = {data["item"][f"x_{m}"].size(1) for m in data.modalities}
    for name, buffer in module.named_buffers():
        parameters.add(name)
        if name.startswith("model.neighbor_score."):
            # As many neighbors of each item as asked for:
            assert buffer.shape == (data["item"].num_nodes, 20), name
            continue
        assert name.startswith("model.content_score."), name
        assert max(buffer.shape) in widths, name
    state = module.state_dict()
    # Only learned neighbors are state beside the weights:
    extra = {name for name in state if name.endswith("_extra_state")}
    assert set(state) == parameters | extra
    assert (len(extra) > 0) == (model_cls.__name__ in ("LATTICE", "MICRO"))


def test_data_of_the_caller_stays(
    dataset: SyntheticMultimodal, data: HeteroData, tmp_path: Path
) -> None:
    before = {store._key: dict(store.items()) for store in data.stores}
    module = RecommenderModule(FREEDOM.from_data(data, channels=8), data)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, InteractionDataModule(data))
    assert module.data is not data
    assert {store._key for store in data.stores} == before.keys()
    for store in data.stores:
        assert set(store.keys()) == set(before[store._key])
        for name, value in before[store._key].items():
            assert store[name] is value


def test_raw_data_is_refused(
    dataset: SyntheticMultimodal, tmp_path: Path
) -> None:
    raw = dataset[0]
    module = RecommenderModule(LightGCN.from_data(raw), raw)
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False)
    with pytest.raises(ValueError, match=r"apply .*ToRecGraph\(\)"):
        trainer.fit(module, InteractionDataModule(raw))

"""Data-parallel training in two processes, against one process.

The ranks run this file as a script and leave behind what they saw.
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
import torch
from every_model import MODELS
from lightning.pytorch import (
    Callback,
    LightningModule,
    Trainer,
    seed_everything,
)
from lightning.pytorch.loggers import CSVLogger
from ranks import init_group, needs_gloo, run_ranks
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import LightGCN, RankingModel
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph
from tmfun_pyg.utils import retrieval

BY_NAME = {cls.__name__: cls for cls in MODELS}
BATCH_SIZE = 64

pytestmark = needs_gloo


def make_dataset() -> SyntheticMultimodal:
    return SyntheticMultimodal(
        60, 80, mean_interactions=12, pre_transform=FeatureGraph(k=5)
    )


def make_data() -> HeteroData:
    return ToRecGraph()(make_dataset()[0])


def make_model(seed: int, name: str = "LightGCN") -> RankingModel:
    seed_everything(seed)
    return BY_NAME[name].from_data(make_data(), channels=8)


class Record(Callback):
    r"""Keeps what one rank sees of a training."""

    def __init__(self) -> None:
        self.seen: Dict[str, Any] = {"batches": [], "losses": []}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.seen["initial"] = {
            name: value.clone() for name, value in module.state_dict().items()
        }
        ddp = trainer.strategy.model
        if isinstance(ddp, DistributedDataParallel):
            self.seen["sent_buffers"] = list(ddp.named_module_buffers)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Tuple[Tensor, Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        self.seen["batches"].append((trainer.current_epoch, *batch))
        self.seen["losses"].append(outputs["loss"])

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        stopping, checkpoint = (
            trainer.early_stopping_callback,
            trainer.checkpoint_callback,
        )
        self.seen.update(
            final=module.state_dict(),
            metrics=dict(trainer.callback_metrics),
            epoch=trainer.current_epoch,
            global_step=trainer.global_step,
            stopping=stopping.state_dict(),
            best_score=checkpoint.best_model_score,
            best_path=checkpoint.best_model_path,
        )


def fit(
    folder: Path,
    max_epochs: int,
    name: str = "LightGCN",
    seed: int = 0,
    lr: float = 0.01,
    ckpt_path: Optional[Path] = None,
    **kwargs: Any,
) -> Tuple[Dict[str, Any], Trainer]:
    dataset, data = make_dataset(), make_data()
    record = Record()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        callbacks=[record, *default_callbacks(str(folder), patience=2)],
        logger=CSVLogger(folder, name="", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        **kwargs,
    )
    trainer.fit(
        RecommenderModule(make_model(seed, name), data, lr, dataset=dataset),
        InteractionDataModule(data, BATCH_SIZE),
        ckpt_path=ckpt_path,
    )
    return record.seen, trainer


def fit_sampled(rank: int) -> Dict[str, Tensor]:
    """Trains on sampled neighborhoods, with sparse gradients."""
    data = make_data()
    torch.manual_seed(rank)
    model = LightGCN.from_data(data, channels=8, num_layers=1, sparse=True)
    Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(
        RecommenderModule(model, data),
        InteractionDataModule(data, BATCH_SIZE, num_neighbors=[2]),
    )
    return model.state_dict()


def make_batch() -> Tuple[Tensor, Tensor, Tensor]:
    store = make_dataset()[0]["user", "interacts", "item"]
    user, pos_item = store.edge_index
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(user.numel(), generator=generator)[:BATCH_SIZE]
    neg_item = torch.randint(80, (BATCH_SIZE, 2), generator=generator)
    return user[order], pos_item[order], neg_item


class Loss(torch.nn.Module):
    r"""A loss in the forward pass, which is where DDP wants it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        # No noise, and an epoch that has begun:
        self.model = make_model(0, name).double().eval()
        data = self.model.in_own_precision(make_data())
        self.data = self.model.prepare(data, epoch=0)

    def forward(self, *batch: Tensor) -> Tensor:
        parts = self.model.loss(self.data, *batch)
        return torch.stack(list(parts.values())).sum()


def gradients(name: str, rank: Optional[int] = None) -> Dict[str, Tensor]:
    batch = make_batch()
    loss = Loss(name)
    if rank is None:
        loss(*batch).backward()
    else:
        ddp = DistributedDataParallel(loss)
        ddp(*(x.view(2, -1, *x.shape[1:])[rank] for x in batch)).backward()
    return {key: weight.grad for key, weight in loss.named_parameters()}


def main(folder: Path) -> None:
    rank = init_group(folder)
    ddp: Dict[str, Any] = {"strategy": "ddp", "devices": 2}
    out: Dict[str, Any] = {}

    # Other weights on each rank; 60 users are one block for two ranks.
    out["fit"], trainer = fit(folder / "two", 2, seed=rank, **ddp)

    module = RecommenderModule(make_model(rank), make_data())
    datamodule = InteractionDataModule(make_data())
    checkpoint = folder / "two" / "best.ckpt"
    for name in ("one", "many"):  # Blocks of users.
        for split, judge in (("val", trainer.validate), ("test", trainer.test)):
            (out[f"{split} of {name}"],) = judge(
                module, datamodule, checkpoint, verbose=False
            )
        out[f"blocks of {name}"] = [
            user for user, _ in datamodule.val_dataloader()
        ]
        retrieval.default_batch_size = lambda num_items: 4
    if rank == 0:  # Must not wait for the other one.
        out["evaluate"] = evaluate(module.model, make_data(), "val")

    last = folder / "one" / "last.ckpt"
    out["resumed"], _ = fit(folder / "resumed", 3, ckpt_path=last, **ddp)
    # Nothing is learned, so that training is over after two more epochs:
    out["stopped"], _ = fit(folder / "stopped", 9, lr=0.0, **ddp)
    out["TMFUN"], _ = fit(folder / "tmfun", 1, "TMFUN", seed=rank, **ddp)
    out["sampled"] = fit_sampled(rank)
    for name in BY_NAME:
        out[f"gradients of {name}"] = gradients(name, rank)
    torch.save(out, folder / f"{rank}.pt")


Ranks = List[Dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    seen, _ = fit(folder / "one", 1, devices=1)
    torch.save(seen, folder / "one.pt")
    run_ranks(__file__, folder)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> Ranks:
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in (0, 1)]


def assert_same(a: Dict[str, Tensor], b: Dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


@pytest.mark.parametrize("name", BY_NAME)
def test_gradients_are_those_of_the_whole_batch(
    name: str, ranks: Ranks
) -> None:
    expected = gradients(name)
    for rank in ranks:
        found = rank[f"gradients of {name}"]
        assert found.keys() == expected.keys()
        for key, grad in expected.items():
            torch.testing.assert_close(found[key], grad, rtol=1e-6, atol=1e-9)


def test_ranks_begin_and_stay_equal(ranks: Ranks) -> None:
    initial = {
        f"model.{name}": x for name, x in make_model(0).state_dict().items()
    }
    for rank in ranks:
        assert_same(rank["fit"]["initial"], initial)
    for name in ("fit", "TMFUN"):
        first, second = (rank[name] for rank in ranks)
        assert_same(first["initial"], second["initial"])
        assert_same(first["final"], second["final"])


def test_ranks_agree_on_sparse_gradients(ranks: Ranks) -> None:
    first, second = (rank["sampled"] for rank in ranks)
    assert_same(first, second)


def test_ranks_share_the_batches_of_one_process(
    folder: Path, ranks: Ranks
) -> None:
    one = torch.load(folder / "one.pt", weights_only=True)["batches"]
    two = [rank["fit"]["batches"] for rank in ranks]
    assert len(two[0]) == len(two[1]) == 2 * len(one)
    for step, (_, *whole) in enumerate(one):
        (_, *first), (_, *second) = two[0][step], two[1][step]
        assert first[0].numel() == second[0].numel() <= BATCH_SIZE // 2
        together = [torch.cat(x) for x in zip(first, second, strict=True)]
        size = whole[0].numel()
        for i in range(2):
            assert torch.equal(together[i][:size], whole[i])
        assert together[0].numel() == size + size % 2
        assert not torch.equal(first[2], second[2])


def test_data_is_not_sent(ranks: Ranks) -> None:
    # Without a word to DDP: nothing of the data is a buffer, but for what the
    # content score treats features with, and the neighbors of the items.
    for rank in ranks:
        assert rank["fit"]["sent_buffers"] == []
        assert len(rank["TMFUN"]["sent_buffers"]) == 2 * 2 + 3
    module = RecommenderModule(make_model(0), make_data())
    assert not hasattr(module, "_ddp_params_and_buffers_to_ignore")


def test_losses_are_averages_over_ranks(ranks: Ranks) -> None:
    total, count = 0.0, 0
    for rank in ranks:
        fit = rank["fit"]
        for (epoch, user, *_), loss in zip(
            fit["batches"], fit["losses"], strict=True
        ):
            if epoch == 1:
                total += float(loss) * user.numel()
                count += user.numel()
    for rank in ranks:
        metrics = rank["fit"]["metrics"]
        assert float(metrics["train_loss"]) == pytest.approx(total / count)
        assert float(metrics["train_loss"]) == pytest.approx(
            float(metrics["train_bpr"] + metrics["train_reg"]), rel=1e-5
        )


def test_metrics_are_those_of_one_process(folder: Path, ranks: Ranks) -> None:
    data = make_data()
    best = torch.load(folder / "two" / "best.ckpt", weights_only=True)
    module = RecommenderModule(make_model(0), data)
    module.load_state_dict(best["state_dict"])
    for split in ("val", "test"):
        expected = {
            f"{split}_{name}": value
            for name, value in evaluate(module.model, data, split).items()
        }
        for rank in ranks:
            for blocks in ("one", "many"):
                assert rank[f"{split} of {blocks}"] == pytest.approx(
                    expected, rel=0, abs=1e-6
                )
    assert ranks[0]["evaluate"] == pytest.approx(
        evaluate(module.model, data, "val"), rel=0, abs=1e-6
    )


def test_ranks_judge_their_own_users(ranks: Ranks) -> None:
    for blocks in ("one", "many"):
        first, second = (rank[f"blocks of {blocks}"] for rank in ranks)
        assert len(first) == len(second)
        assert second[-1].numel() == 0
        user = torch.cat(first + second)
        assert user.unique().numel() == user.numel() == 27
    assert len(first) == 4


def test_callbacks_agree_on_all_ranks(ranks: Ranks) -> None:
    for name in ("fit", "resumed", "stopped"):
        first, second = (rank[name] for rank in ranks)
        for key in ("stopping", "best_score", "best_path", "global_step"):
            assert first[key] == second[key], key
        assert first["metrics"].keys() == second["metrics"].keys()
        for key, value in first["metrics"].items():
            assert torch.equal(value, second["metrics"][key]), key
    assert [rank["stopped"]["epoch"] for rank in ranks] == [4, 4]


def test_one_process_resumes_the_checkpoint_of_two(
    folder: Path, ranks: Ranks
) -> None:
    last = folder / "two" / "last.ckpt"
    vocabulary = torch.load(last, weights_only=True)["vocabulary"]
    assert vocabulary["user_ids"] == list(range(60))
    seen, _ = fit(folder / "back", 3, devices=1, ckpt_path=last)
    assert_same(seen["initial"], ranks[0]["fit"]["final"])
    assert {epoch for epoch, *_ in seen["batches"]} == {2}
    assert seen["global_step"] == ranks[0]["fit"]["global_step"] * 3 // 2


def test_two_processes_resume_the_checkpoint_of_one(
    folder: Path, ranks: Ranks
) -> None:
    one = torch.load(folder / "one.pt", weights_only=True)
    for rank in ranks:
        resumed = rank["resumed"]
        assert_same(resumed["initial"], one["final"])
        assert resumed["global_step"] == one["global_step"] * 3
        # What an undisturbed run sees in its second epoch:
        batches = [b for b in rank["fit"]["batches"] if b[0] == 1]
        again = [b for b in resumed["batches"] if b[0] == 1]
        for (_, *batch), (_, *expected) in zip(again, batches, strict=True):
            for x, y in zip(batch, expected, strict=True):
                assert torch.equal(x, y)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

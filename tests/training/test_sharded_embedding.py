"""Tables divided between two processes, against whole ones in one process.

The ranks run this file as a script and leave behind what they saw.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from ranks import init_group, needs_gloo, run_ranks
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import HeteroData

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    ShardedEmbedding,
    default_callbacks,
    sharded,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

needs_torchrec = pytest.mark.skipif(
    find_spec("torchrec") is None,
    reason="torchrec is not installed; on the CPU: pip install --no-deps "
    "torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0 && pip install tensordict "
    "pyre-extensions",
)
NUM_ROWS, ITEMS, CHANNELS, LR = 61, 80, 8, 2.0
#: The rows of each process: not the same number.
PARTS = slice(0, 31), slice(31, 61)
ASKED = [torch.tensor([[3, 60], [3, 0]]), torch.tensor([], dtype=torch.long)]


def make_dataset() -> SyntheticMultimodal:
    return SyntheticMultimodal(
        NUM_ROWS, ITEMS, mean_interactions=12, pre_transform=FeatureGraph(k=5)
    )


def make_data() -> HeteroData:
    return ToRecGraph()(make_dataset()[0])


def whole_model() -> TMFUN:
    seed_everything(0, verbose=False)
    model = TMFUN.from_data(make_data(), channels=CHANNELS, num_layers=2)
    model.fit(make_data())
    return model


class Loss(torch.nn.Module):
    r"""A loss in the forward pass, which is where DDP wants it."""

    def __init__(self, model: TMFUN) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: HeteroData) -> Tensor:
        item = batch["item"]
        index = item.dst_pos_index, item.dst_neg_index
        parts = self.model.loss(batch, batch["user"].src_index, *index)
        return torch.stack(list(parts.values())).sum()


def added_by_start(model: TMFUN) -> List[Tensor]:
    """What `fit` adds to the rows of the tables that are here."""
    tables = model.user_embedding, model.item_embedding
    rows = [getattr(table, "shard", table.weight) for table in tables]
    before = [row.detach().clone() for row in rows]
    model.fit(make_data())
    return [row.detach() - old for row, old in zip(rows, before, strict=True)]


def make_batch(rank: int, step: int) -> HeteroData:
    dataset = SampledInteractionDataset(make_data(), [3, 2], num_similar=2)
    size = 32 + 8 * rank  # Other numbers of nodes on each rank.
    index = torch.arange(size) + 100 * rank + 200 * step
    return dataset[index % len(dataset), rank + 2 * step]


def take_steps(rank: int) -> Dict[str, Any]:
    """Trains the tables by themselves, and leaves the other weights alone."""
    data = make_data()
    model = sharded(TMFUN, lr=LR).from_data(
        data, channels=CHANNELS, num_layers=2
    )
    model.load_state_dict(whole_model().state_dict())
    ddp = DistributedDataParallel(Loss(model))
    losses, grads = [], []
    for step in range(2):
        ddp.zero_grad()
        loss = ddp(make_batch(rank, step))
        loss.backward()
        losses.append(loss.detach())
        grads.append({key: x.grad for key, x in model.named_parameters()})
    tables = model.user_embedding, model.item_embedding
    return {
        "losses": losses,
        "grads": grads,
        "shards": [table.shard.clone() for table in tables],
        "bytes": [table.shard.untyped_storage().nbytes() for table in tables],
        "full graph": message(lambda: model(data)),
    }


def start(rank: int) -> List[Tensor]:
    model_cls = sharded(TMFUN, lr=LR)
    model = model_cls.from_data(make_data(), channels=4, svd_start=True)
    with torch.no_grad():
        return added_by_start(model)


def message(call: Any) -> str:
    try:
        call()
    except ValueError as err:
        return str(err)
    return "no error"


def read_table(rank: int) -> Dict[str, Any]:
    torch.manual_seed(0)
    table = ShardedEmbedding(NUM_ROWS, CHANNELS, LR)
    with torch.no_grad():
        weight = table.weight
    return {
        "shard": table.shard.clone(),
        "weight": weight,
        "found": table(ASKED[rank]).detach(),
        "state": table.state_dict(),
        "double": message(table.double),
    }


def fit(folder: Path, max_epochs: int, **kwargs: Any) -> Dict[str, Any]:
    dataset, data = make_dataset(), make_data()
    seed_everything(0, verbose=False)
    model = sharded(TMFUN, lr=LR).from_data(
        data, channels=CHANNELS, num_layers=2
    )
    trainer = Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        max_epochs=max_epochs,
        callbacks=default_callbacks(str(folder), patience=9),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        RecommenderModule(model, data, dataset=dataset),
        InteractionDataModule(data, 256, num_neighbors=[3, 2], num_similar=2),
        **kwargs,
    )
    return {
        "shard": model.user_embedding.shard.clone(),
        "recall": float(trainer.callback_metrics["val_recall@20"]),
    }


def main(folder: Path) -> None:
    rank = init_group(folder)
    out = {
        "table": read_table(rank),
        "steps": take_steps(rank),
        "start": start(rank),
        "fit": fit(folder / "one", 1),
        "longer": fit(folder / "two", 2),
        "resumed": fit(
            folder / "resumed", 2, ckpt_path=folder / "one" / "last.ckpt"
        ),
    }
    torch.save(out, folder / f"{rank}.pt")


Ranks = List[Dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(__file__, folder)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> Ranks:
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in (0, 1)]


@needs_gloo
@needs_torchrec
class TestTwoProcesses:
    def test_each_holds_its_own_rows(self, ranks: Ranks) -> None:
        shards = [rank["table"]["shard"] for rank in ranks]
        assert [shard.size(0) for shard in shards] == [31, 30]
        weight = torch.cat(shards)
        assert weight.unique(dim=0).size(0) == NUM_ROWS
        bound = (6 / (NUM_ROWS + CHANNELS)) ** 0.5
        assert 0.9 * bound < weight.abs().max() <= bound
        for rank, asked in zip(ranks, ASKED, strict=True):
            table = rank["table"]
            assert torch.equal(table["weight"], weight)
            assert torch.equal(table["found"], weight[asked])
        assert torch.equal(ranks[0]["table"]["state"]["weight"], weight)
        assert ranks[1]["table"]["state"] == {}

    def test_other_precisions_are_refused(self, ranks: Ranks) -> None:
        for rank in ranks:
            assert "stay of torch.float32" in rank["table"]["double"]

    def test_half_of_the_memory(self, ranks: Ranks) -> None:
        for rank, part in zip(ranks, PARTS, strict=True):
            num_users = part.stop - part.start
            sizes = [4 * CHANNELS * rows for rows in (num_users, ITEMS // 2)]
            assert rank["steps"]["bytes"] == sizes

    def test_steps_are_those_of_whole_tables(self, ranks: Ranks) -> None:
        model = whole_model()
        loss_of = Loss(model)
        tables = model.user_embedding, model.item_embedding
        for step in range(2):
            model.zero_grad()
            losses = [loss_of(make_batch(rank, step)) for rank in (0, 1)]
            (sum(losses) / 2).backward()
            expected = {key: x.grad for key, x in model.named_parameters()}
            for rank, loss in zip(ranks, losses, strict=True):
                torch.testing.assert_close(rank["steps"]["losses"][step], loss)
                found = rank["steps"]["grads"][step]
                names = ["user_embedding.weight", "item_embedding.weight"]
                assert found.keys() == expected.keys() - set(names)
                for key, grad in found.items():
                    torch.testing.assert_close(
                        grad, expected[key], rtol=1e-5, atol=1e-7
                    )
            with torch.no_grad():
                for table in tables:
                    table.weight -= LR * table.weight.grad
        for i, table in enumerate(tables):
            found = torch.cat([rank["steps"]["shards"][i] for rank in ranks])
            torch.testing.assert_close(found, table.weight.detach())
            moved = (
                found
                - whole_model().state_dict()[
                    ("user", "item")[i] + "_embedding.weight"
                ]
            )
            assert moved.abs().max() > 1e-3

    def test_start_is_that_of_whole_tables(self, ranks: Ranks) -> None:
        model = TMFUN.from_data(make_data(), channels=4, svd_start=True)
        for i, added in enumerate(added_by_start(model)):
            found = torch.cat([rank["start"][i] for rank in ranks])
            # The sign of a vector means nothing.
            torch.testing.assert_close(found.abs(), added.abs())
            assert added.abs().max() > 0.1

    def test_whole_graph_is_refused_in_training(self, ranks: Ranks) -> None:
        for rank in ranks:
            assert "'num_neighbors'" in rank["steps"]["full graph"]

    def test_one_process_loads_the_checkpoint(
        self, folder: Path, ranks: Ranks
    ) -> None:
        path = folder / "one" / "best.ckpt"
        found = Recommender.load(path, make_dataset())
        assert type(found.model) is TMFUN
        weight = torch.cat([rank["fit"]["shard"] for rank in ranks])
        assert torch.equal(found.model.user_embedding.weight, weight)
        recall = evaluate(found.model, make_data(), "val")["recall@20"]
        assert [rank["fit"]["recall"] for rank in ranks] == pytest.approx(
            [recall, recall]
        )

    def test_training_goes_on(self, ranks: Ranks) -> None:
        for rank in ranks:
            longer, resumed = rank["longer"], rank["resumed"]
            assert torch.equal(longer["shard"], resumed["shard"])
            assert longer["recall"] == resumed["recall"]


def test_tables_need_a_group() -> None:
    with pytest.raises(ValueError, match=r"call torch\.distributed\.init"):
        ShardedEmbedding(4, 2, lr=1.0)


def test_models_of_nothing_but_tables_are_refused() -> None:
    with pytest.raises(ValueError, match=r"TMFUN \(got LightGCN\)"):
        sharded(LightGCN, lr=1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

import pytest
import torch
from torch_geometric import typing
from toy_data import NUM_ITEMS, NUM_USERS, make_data

from tmfun_pyg.loader import SampledInteractionDataset
from tmfun_pyg.nn import TMFUN, EmbeddingTable, LightGCN


class ShardedTable(torch.nn.Module):
    """A stand-in for a table whose rows lie in several places."""

    def __init__(self, num_embeddings, embedding_dim, num_shards=3):
        super().__init__()
        self.num_shards = num_shards
        self.shards = torch.nn.ParameterList(
            torch.empty(
                len(range(shard, num_embeddings, num_shards)), embedding_dim
            )
            for shard in range(num_shards)
        )
        self.num_embeddings = num_embeddings

    def reset_parameters(self):
        for shard in self.shards:
            torch.nn.init.normal_(shard)

    def forward(self, index=None):
        if index is None:
            index = torch.arange(self.num_embeddings)
        rows = index // self.num_shards
        out = torch.stack(
            [shard[rows.clamp(max=len(shard) - 1)] for shard in self.shards]
        )
        return out[index % self.num_shards, torch.arange(len(index))]


@pytest.mark.parametrize("model_cls", [LightGCN, TMFUN])
def test_another_table_takes_its_place(model_cls, batch):
    data = make_data(2, missing=True)
    sharded = model_cls.from_data(data, channels=4, table=ShardedTable)
    plain = model_cls.from_data(data, channels=4)
    state = sharded.state_dict()
    for name, size in (("user", NUM_USERS), ("item", NUM_ITEMS)):
        for shard in range(3):
            del state[f"{name}_embedding.shards.{shard}"]
        table = getattr(sharded, f"{name}_embedding")
        state[f"{name}_embedding.weight"] = table(torch.arange(size))
    plain.load_state_dict(state)

    torch.testing.assert_close(sharded(), plain())
    for found, expected in (
        (sharded.loss(*batch), plain.loss(*batch)),
        *sampled_losses(data, sharded, plain),
    ):
        for name in expected:
            torch.testing.assert_close(found[name], expected[name])
    sum(sharded.loss(*batch).values()).backward()
    sum(plain.loss(*batch).values()).backward()
    for shard, grad in enumerate(sharded.item_embedding.shards):
        torch.testing.assert_close(
            grad.grad, plain.item_embedding.weight.grad[shard::3]
        )


def sampled_losses(data, *models):
    if not (typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE):
        return []
    layers = models[0].num_layers
    dataset = SampledInteractionDataset(data, [2] * layers)
    sample = dataset[torch.tensor([0, 3])]
    return [tuple(model.sampled_loss(sample) for model in models)]


def test_rows_and_reset():
    table = EmbeddingTable(5, 3)
    index = torch.tensor([4, 0, 4])
    torch.testing.assert_close(table(index), table()[index])
    bound = (6 / (5 + 3)) ** 0.5
    assert 0 < table().abs().max() <= bound
    before = table().clone()
    table.reset_parameters()
    assert not torch.equal(table(), before)

"""HeteroConv of PyG as a recommender: SAGEConv between users and items, with
and without FeatureGraphConv between similar items, and item features as input.

    python examples/hetero_conv.py

It trains all four with the same seed, and prints their Recall@20 (a minute).
"""

import argparse
import itertools
import logging
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, HeteroDictLinear, SAGEConv

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import FeatureGraphConv, RankingModel
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph

SIZES = {"visual": 64, "textual": 48}
SIMILAR = [("item", f"similar_{name}", "item") for name in SIZES]
INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")


class HeteroSAGE(RankingModel):
    """Two layers of HeteroConv over users and items."""

    def __init__(
        self, num_users: int, num_items: int, features: bool, similar: bool
    ) -> None:
        super().__init__(num_users, num_items)
        sizes = {"user": num_users, "item": num_items}
        self.embedding = torch.nn.ParameterDict(
            {name: 0.1 * torch.randn(size, 64) for name, size in sizes.items()}
        )
        self.lin = HeteroDictLinear(SIZES, 64) if features else None
        self.layers = torch.nn.ModuleList()
        for _ in range(2):
            convs = {name: SAGEConv(64, 64) for name in (INTERACTS, REVERSE)}
            if similar:
                convs.update({name: FeatureGraphConv() for name in SIMILAR})
            self.layers.append(HeteroConv(convs))

    def bind(self, data: HeteroData) -> "HeteroSAGE":
        """Reads graphs and features; buffers move with the model."""
        super().bind(data)
        buffers = {f"x_{name}": data["item"][f"x_{name}"] for name in SIZES}
        for relation in (INTERACTS, REVERSE, *SIMILAR):
            buffers[relation[1]] = data[relation].edge_index
        for relation in SIMILAR:
            buffers[f"{relation[1]}_weight"] = data[relation].edge_weight
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        return self

    def forward(self) -> Tuple[Tensor, Tensor]:
        """Returns the embeddings of all users and of all items."""
        get = self.get_buffer
        edge_index = {r: get(r[1]) for r in (INTERACTS, REVERSE, *SIMILAR)}
        weight = {r: get(f"{r[1]}_weight") for r in SIMILAR}
        x = dict(self.embedding)
        if self.lin is not None:
            h = self.lin({name: get(f"x_{name}") for name in SIZES})
            x["item"] = x["item"] + sum(h.values()) / len(h)
        for layer in self.layers:
            out = layer(x, edge_index, edge_weight_dict=weight)
            x = {name: x[name] + out[name] for name in x}  # Residual.
        return x["user"], x["item"]

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        """Returns the parts of the loss, whose sum is minimized."""
        user_emb, item_emb = self()
        item = torch.cat([pos_item.view(-1, 1), neg_item], dim=1)
        user_emb = F.embedding(user, user_emb)
        item_emb = F.embedding(item, item_emb)
        score = torch.einsum("bc,bnc->bn", user_emb, item_emb)
        return {"bpr": -F.logsigmoid(score[:, :1] - score[:, 1:]).mean()}


def main() -> None:
    """Trains all four and compares them."""
    parser = argparse.ArgumentParser(description="HeteroConv with content.")
    parser.add_argument("--epochs", type=int, default=20, help="(default: 20)")
    epochs = parser.parse_args().epochs
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    data = SyntheticMultimodal(seed=0, pre_transform=FeatureGraph(k=10))[0]
    print(f"{'Recall@20':<41}validation    test")
    for features, similar in itertools.product((False, True), repeat=2):
        seed_everything(0, verbose=False)
        model = HeteroSAGE.from_data(data, features=features, similar=similar)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        module = RecommenderModule(model, lr=2e-3)
        trainer.fit(module, InteractionDataModule(data, batch_size=512))
        name = f"features: {features}, FeatureGraphConv: {similar}"
        val = evaluate(model, data, "val")["recall@20"]
        test = evaluate(model, data, "test")["recall@20"]
        print(f"{name:<41}{val:>10.4f}{test:>8.4f}")


if __name__ == "__main__":
    main()

"""Adds a recommender of your own: LightGCN of PyG, and what it gains when
FeatureGraphConv is dropped in for the content of the items.

    python examples/custom_model.py

It trains both on the embedded data set, with the same seed and options, and
prints their test Recall@20 beside that of most-popular (under a minute).
"""

import argparse
import logging
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn import LightGCN
from torch_geometric.utils import to_undirected

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import FeatureGraphConv, RankingModel
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph


class CustomModel(RankingModel):
    """LightGCN of PyG, with or without the embeddings of similar items."""

    def __init__(self, num_users: int, num_items: int, content: bool) -> None:
        super().__init__(num_users, num_items)
        self.backbone = LightGCN(num_users + num_items, 64, num_layers=2)
        self.feature_conv = FeatureGraphConv() if content else None

    def bind(self, data: HeteroData) -> "CustomModel":
        """Reads the graphs from a data set."""
        super().bind(data)
        edge_index = data["user", "interacts", "item"].edge_index.clone()
        edge_index[1] += self.num_users  # Items are behind the users.
        # One graph of similar items, from those of all modalities:
        similar = [
            store for store in data.edge_stores if "edge_weight" in store
        ]
        weight = torch.cat([store.edge_weight for store in similar])
        for name, tensor in (
            ("edge_index", to_undirected(edge_index)),
            ("similar", torch.cat([s.edge_index for s in similar], dim=1)),
            ("weight", weight / len(similar)),
        ):
            # Moves with the model, and is no part of its checkpoints:
            self.register_buffer(name, tensor, persistent=False)
        return self

    def forward(self) -> Tuple[Tensor, Tensor]:
        """Returns the embeddings of all users and of all items."""
        x = self.backbone.get_embedding(self.edge_index)
        user_emb, item_emb = x[: self.num_users], x[self.num_users :]
        if self.feature_conv is not None:
            item_id = self.backbone.embedding.weight[self.num_users :]
            similar = self.feature_conv(item_id, self.similar, self.weight)
            item_emb = item_emb + similar
        return user_emb, item_emb

    def loss(
        self, user: Tensor, pos_item: Tensor, neg_item: Tensor
    ) -> Dict[str, Tensor]:
        """Returns the parts of the loss, whose sum is minimized."""
        user_emb, item_emb = self()
        user_emb = F.embedding(user, user_emb)
        item = torch.cat([pos_item.view(-1, 1), neg_item], dim=1)
        item_emb = F.embedding(item, item_emb)
        score = (item_emb @ user_emb.unsqueeze(-1)).squeeze(-1)
        length = user_emb.pow(2).sum() + item_emb.pow(2).sum()
        return {
            "bpr": -F.logsigmoid(score[:, :1] - score[:, 1:]).mean(),
            "reg": 1e-3 * length / user.numel(),
        }


def train(data: HeteroData, content: bool, epochs: int) -> CustomModel:
    """Trains the model with or without content."""
    seed_everything(0, verbose=False)
    model = CustomModel.from_data(data, content=content)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    batches = InteractionDataModule(data, batch_size=512)
    trainer.fit(RecommenderModule(model, lr=5e-3), batches)
    return model


def main() -> None:
    """Trains both and compares them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    data = FeatureGraph(k=10)(SyntheticMultimodal(seed=0)[0])
    models = {
        "most-popular": MostPopular.from_data(data),
        "LightGCN of PyG": train(data, content=False, epochs=epochs),
        "with FeatureGraphConv": train(data, content=True, epochs=epochs),
    }
    print("\ntest Recall@20")
    for name, model in models.items():
        print(f"{name:<23}{evaluate(model, data, 'test')['recall@20']:.4f}")


if __name__ == "__main__":
    main()

"""A custom model: PyG's LightGCN as a `RankingModel`, with and without
FeatureGraphConv for the content of the items.

    python examples/custom_model.py

It trains both on the synthetic data set, with the same seed and options, and
prints their test Recall@20 next to that of most-popular (under a minute).
"""

import argparse

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch_geometric.nn import LightGCN
from torch_geometric.transforms import Compose

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import Embeddings, FeatureGraphConv, RankingModel
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph


class ContentLightGCN(RankingModel):
    """PyG's LightGCN, plus the gated embeddings of similar items."""

    def __init__(self, num_users, num_items, in_channels):
        super().__init__(num_users, num_items)
        self.backbone = LightGCN(num_users + num_items, 64, num_layers=2)
        self.convs = torch.nn.ModuleDict(
            {m: FeatureGraphConv(64, size) for m, size in in_channels.items()}
        )

    def encode(self, data, user=None, item=None, exclude=None):
        """Returns the embeddings of all users and items, or of a batch."""
        self.check_data(data)
        src, dst = data["user", "interacts", "item"].edge_index
        edge = torch.stack([src, dst + self.num_users])  # Items after users.
        edge_index = torch.cat([edge, edge.flip(0)], dim=1)
        x = self.backbone.get_embedding(edge_index)
        user_emb, item_emb = x[: self.num_users], x[self.num_users :]
        item_id = self.backbone.embedding.weight[self.num_users :]
        for m, conv in self.convs.items():
            graph = data["item", f"similar_{m}", "item"]
            feat = data["item"][f"x_{m}"]
            h = conv(item_id, graph.edge_index, graph.edge_weight, feat)
            item_emb = item_emb + h
        return Embeddings(user_emb, item_emb).rows(user, item)

    def loss(self, data, user, pos_item, neg_item):
        """Returns the parts of the loss, whose sum is minimized."""
        item = torch.cat([pos_item.view(-1, 1), neg_item], dim=1)
        user_emb, item_emb = self.encode(data, user, item)
        score = (item_emb @ user_emb.unsqueeze(-1)).squeeze(-1)
        length = user_emb.pow(2).sum() + item_emb.pow(2).sum()
        return {
            "bpr": -F.logsigmoid(score[:, :1] - score[:, 1:]).mean(),
            "reg": 1e-3 * length / user.numel(),
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    transform = Compose([FeatureGraph(k=10), ToRecGraph()])
    data = SyntheticMultimodal(seed=0, transform=transform)[0]
    models = {"most-popular": MostPopular.from_data(data)}
    sizes = {m: data["item"][f"x_{m}"].size(1) for m in data.modalities}
    for name, in_channels in (("LightGCN", {}), ("with content", sizes)):
        seed_everything(0)
        model = ContentLightGCN.from_data(data, in_channels=in_channels)
        module = RecommenderModule(model, data, lr=5e-3)
        batches = InteractionDataModule(data, batch_size=512)
        trainer = Trainer(
            max_epochs=epochs, logger=False, enable_checkpointing=False
        )
        trainer.fit(module, batches)
        models[name] = model
    for name, model in models.items():
        recall = evaluate(model, data, "test")["recall@20"]
        print(f"{name:<14}{recall:.4f}")


if __name__ == "__main__":
    main()

"""GraphSAGE of PyG as a recommender, on ID embeddings alone, with the
features of the items, and with FeatureGraphConv and ModalityAttention to
prepare these features.

    python examples/graphsage.py

It trains all three on the embedded synthetic data set, with the same seed and
options, and prints their Recall@20 (under a minute on 2 cores).
"""

import argparse
import logging
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn import GraphSAGE, HeteroDictLinear
from torch_geometric.utils import to_undirected

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import FeatureGraphConv, ModalityAttention, RankingModel
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph

SIZES = {"visual": 64, "textual": 48}


class GraphSAGERecommender(RankingModel):
    """GraphSAGE over users and items, with content added to item IDs."""

    def __init__(self, num_users: int, num_items: int, content: str) -> None:
        super().__init__(num_users, num_items)
        self.content = content
        self.embedding = torch.nn.Embedding(num_users + num_items, 64)
        torch.nn.init.xavier_uniform_(self.embedding.weight)
        self.lin = HeteroDictLinear(SIZES, 64)
        self.feature_conv = FeatureGraphConv(residual=True)
        self.attention = ModalityAttention(64, query_channels=64)
        self.sage = GraphSAGE(64, 64, num_layers=2)

    def bind(self, data: HeteroData) -> "GraphSAGERecommender":
        """Reads the graphs and the features from a data set."""
        super().bind(data)
        user, item = data["user", "interacts", "item"].edge_index
        # Items are numbered behind the users:
        edge_index = torch.stack([user, item + self.num_users])
        buffers = {"edge_index": to_undirected(edge_index)}
        for name in SIZES:
            similar = data["item", f"similar_{name}", "item"]
            buffers[f"x_{name}"] = data["item"][f"x_{name}"]
            buffers[f"similar_{name}"] = similar.edge_index
            buffers[f"weight_{name}"] = similar.edge_weight
        for name, tensor in buffers.items():
            # Moves with the model, and is no part of its checkpoints:
            self.register_buffer(name, tensor, persistent=False)
        return self

    def forward(self) -> Tuple[Tensor, Tensor]:
        """Returns the embeddings of all users and of all items."""
        sizes = [self.num_users, self.num_items]
        user_id, item_id = self.embedding.weight.split(sizes)
        get = self.get_buffer
        h = self.lin({name: get(f"x_{name}") for name in SIZES})
        if self.content == "features":
            item_id = item_id + torch.stack(list(h.values())).mean(dim=0)
        elif self.content == "layers":
            for name in SIZES:
                graph = get(f"similar_{name}"), get(f"weight_{name}")
                h[name] = self.feature_conv(h[name], *graph)
            item_id = item_id + self.attention(h, query=item_id)
        x = self.sage(torch.cat([user_id, item_id]), self.edge_index)
        user_emb, item_emb = x.split(sizes)
        return user_emb, item_emb

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
    """Trains all three and compares them."""
    parser = argparse.ArgumentParser(description="GraphSAGE with content.")
    parser.add_argument("--epochs", type=int, default=20, help="(default: 20)")
    epochs = parser.parse_args().epochs
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    data = SyntheticMultimodal(seed=0, pre_transform=FeatureGraph(k=10))[0]
    print(f"{'Recall@20':<20}validation    test")
    for content in ("none", "features", "layers"):
        seed_everything(0, verbose=False)
        model = GraphSAGERecommender.from_data(data, content=content)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        module = RecommenderModule(model, lr=1e-3)
        trainer.fit(module, InteractionDataModule(data, batch_size=512))
        val = evaluate(model, data, "val")["recall@20"]
        test = evaluate(model, data, "test")["recall@20"]
        print(f"{'content: ' + content:<20}{val:>10.4f}{test:>8.4f}")


if __name__ == "__main__":
    main()

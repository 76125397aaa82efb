"""PyG's HeteroConv as a `RankingModel`: SimpleConv between users and items,
with and without FeatureGraphConv between similar items.

    python examples/hetero_conv.py

It trains both on the synthetic data set, with the same seed and options, and
prints their test Recall@20 (under a minute). Features for the gate are keyed
by edge type: keyed by node type, they would also be passed to SimpleConv,
which fails.
"""

import argparse

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch_geometric.nn import HeteroConv, SimpleConv
from torch_geometric.transforms import Compose

from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import Embeddings, FeatureGraphConv, RankingModel
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

INTERACTS = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
SIZES = {"visual": 64, "textual": 48}


class HeteroRecommender(RankingModel):
    """Two layers of HeteroConv over users and items."""

    def __init__(self, num_users, num_items, content):
        super().__init__(num_users, num_items)
        sizes = {"user": num_users, "item": num_items}
        self.emb = torch.nn.ParameterDict(
            {key: 0.03 * torch.randn(size, 64) for key, size in sizes.items()}
        )
        self.layers = torch.nn.ModuleList()
        for _ in range(2):
            convs = {e: SimpleConv("sum") for e in (INTERACTS, REVERSE)}
            for m, size in SIZES.items() if content else ():
                conv = FeatureGraphConv(64, feat_channels=size)
                convs["item", f"similar_{m}", "item"] = conv
            self.layers.append(HeteroConv(convs))

    def encode(self, data, user=None, item=None, exclude=None):
        """Returns the embeddings of all users and items, or of a batch."""
        self.check_data(data)
        edges = {e: data[e].edge_index.as_tensor() for e in data.edge_types}
        kwargs = {
            "edge_weight_dict": data.edge_weight_dict,
            "feat_dict": {
                ("item", f"similar_{m}", "item"): data["item"][f"x_{m}"]
                for m in SIZES
            },
        }
        x = dict(self.emb)
        for layer in self.layers:
            out = layer(x, edges, **kwargs)
            x = {key: x[key] + out[key] for key in x}
        return Embeddings(x["user"], x["item"]).rows(user, item)

    def loss(self, data, user, pos_item, neg_item):
        """Returns the parts of the loss, whose sum is minimized."""
        item = torch.cat([pos_item.view(-1, 1), neg_item], dim=1)
        user_emb, item_emb = self.encode(data, user, item)
        score = torch.einsum("bc,bnc->bn", user_emb, item_emb)
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
    for content in (False, True):
        seed_everything(0)
        model = HeteroRecommender.from_data(data, content=content)
        module = RecommenderModule(model, data, lr=5e-3)
        batches = InteractionDataModule(data, batch_size=512)
        trainer = Trainer(
            max_epochs=epochs, logger=False, enable_checkpointing=False
        )
        trainer.fit(module, batches)
        recall = evaluate(model, data, "test")["recall@20"]
        print(f"FeatureGraphConv: {content!s:<7}Recall@20: {recall:.4f}")


if __name__ == "__main__":
    main()

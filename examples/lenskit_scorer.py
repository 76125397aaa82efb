"""TMFUN as a component of LensKit. It reads the vector attributes of items.
LensKit needs an older pandas than we do, and so its own versions:

    pip install -c examples/lenskit-constraints.txt . lenskit
    python examples/lenskit_scorer.py

It prints the test NDCG@10 of most-popular, LensKit's item-item neighbors and
TMFUN on a small synthetic data set (under a minute).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from lenskit import batch, topn_pipeline
from lenskit.basic import PopScorer
from lenskit.data import Dataset, DatasetBuilder, ItemList, QueryInput, RecQuery
from lenskit.knn import ItemKNNScorer
from lenskit.metrics import NDCG, RunAnalysis
from lenskit.pipeline import Component
from lenskit.splitting import SampleN, sample_users
from lenskit.training import Trainable, TrainingOptions
from lightning.pytorch import Trainer, seed_everything
from torch_geometric.data import HeteroData

from tmfun_pyg.nn import TMFUN
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph


@dataclass
class TMFUNConfig:
    channels: int = 32
    lr: float = 5e-3
    batch_size: int = 512
    epochs: int = 20


class TMFUNScorer(Component[ItemList], Trainable):
    config: TMFUNConfig

    def train(self, data: Dataset, options: TrainingOptions):
        """Trains TMFUN on all interactions and keeps its embeddings."""
        if hasattr(self, "item_emb") and not options.retrain:
            return
        seed_everything(int(options.random_generator().integers(2**31)))
        cfg = self.config
        graph = ToRecGraph()(FeatureGraph(k=10)(self.to_graph(data)))
        model = TMFUN.from_data(graph, channels=cfg.channels)
        trainer = Trainer(
            max_epochs=cfg.epochs,
            limit_val_batches=0,  # LensKit holds out its own test data.
            logger=False,
            enable_checkpointing=False,
        )
        batches = InteractionDataModule(graph, cfg.batch_size)
        trainer.fit(RecommenderModule(model, graph, cfg.lr), batches)
        model.cpu().eval()
        with torch.inference_mode():
            self.user_emb, self.item_emb = (x.numpy() for x in model(graph))
        self.users, self.items = data.users, data.items

    def to_graph(self, data: Dataset) -> HeteroData:
        graph, items = HeteroData(), data.entities("item")
        graph["user"].num_nodes = data.user_count
        graph["item"].num_nodes = data.item_count
        coo = data.interactions().matrix().coo_structure()
        pairs = np.stack([coo.row_numbers, coo.col_numbers]).astype(np.int64)
        graph["user", "interacts", "item"].edge_index = torch.tensor(pairs)
        for name in items.attributes:
            if items.attribute(name).is_vector:
                known = items.attribute(name).drop_null()
                matrix, row = known.numpy(), known.numbers()
                x = np.zeros((data.item_count, matrix.shape[1]), np.float32)
                x[row] = matrix
                graph["item"][f"x_{name}"] = torch.from_numpy(x)
                mask = np.isin(range(data.item_count), row)
                graph["item"][f"mask_{name}"] = torch.from_numpy(mask)
        return graph

    def __call__(self, query: QueryInput, items: ItemList) -> ItemList:
        """Scores items; NaN for users and items that were not in training."""
        score = np.full(len(items), np.nan, dtype=np.float32)
        user = self.users.number(RecQuery.create(query).user_id, missing=None)
        if user is not None:
            item = items.numbers(vocabulary=self.items, missing="negative")
            emb = self.item_emb[item[item >= 0]]
            score[item >= 0] = emb @ self.user_emb[user]
        return ItemList(items, scores=score)


def main():
    # Each item suits one of 20 tastes, shown in its image; users follow one.
    rng, num = np.random.default_rng(0), 400
    taste = rng.integers(20, size=num)
    liking = 3 * (rng.integers(20, size=(num, 1)) == taste)
    item = np.argsort(rng.gumbel(size=(num, num)) + liking)[:, -8:]
    log = pd.DataFrame({"user_id": np.repeat(range(num), 8)})
    log["item_id"] = item.flatten()
    image = rng.normal(size=(20, 16))[taste] + rng.normal(size=(num, 16))
    has_image = np.unique(item)[5:]  # Five items have none.
    builder = DatasetBuilder("shop")
    names = ["user", "item"]
    builder.add_interactions("buy", log, entities=names, missing="insert")
    builder.add_vector_attribute("item", "image", has_image, image[has_image])
    split = sample_users(builder.build(), 300, SampleN(3, rng), rng=rng)
    knn = ItemKNNScorer(feedback="implicit")
    for scorer in (PopScorer(), knn, TMFUNScorer()):
        pipeline = topn_pipeline(scorer, n=10)
        pipeline.train(split.train, TrainingOptions(rng=0))
        lists = batch.recommend(pipeline, split.test, n_jobs=1)
        result = RunAnalysis(NDCG(10)).measure(lists, split.test)
        value = result.list_summary().loc["NDCG@10", "mean"]
        print(f"{type(scorer).__name__:<16}NDCG@10 {value:.4f}")


if __name__ == "__main__":
    main()

"""A small shop, from its files to recommendations: lists for customers in the
log and for one who came after training, items in stock, similar items, scores.

    python examples/recommend.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from lightning.pytorch import Trainer, seed_everything

from tmfun_pyg.datasets import MultimodalRecDataset, prepare
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

# Three kinds of goods with different features; customers mostly buy one kind.
KINDS = ["tea", "coffee", "honey"]
rng = np.random.default_rng(0)
items = pd.DataFrame({"item_id": [f"{i:04}" for i in range(150)]})
kind = rng.integers(3, size=150)
items["group"] = [KINDS[x] for x in kind]
items["title"] = items["group"] + " no. " + items["item_id"]
image = rng.normal(size=(3, 16))[kind] + rng.normal(size=(150, 16))
rows: list[tuple[str, str, int]] = []
for user in range(400):
    p = np.where(kind == rng.integers(3), 8.0, 1.0)
    for item in rng.choice(150, size=8, replace=False, p=p / p.sum()):
        rows.append((f"anna-{user}", items["item_id"][item], len(rows)))
log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])

with TemporaryDirectory() as name:  # You have these files already.
    shop = Path(name)
    log.to_csv(shop / "log.csv", index=False)
    items.to_csv(shop / "items.csv", index=False)
    np.save(shop / "image.npy", image.astype(np.float32))
    (shop / "image_ids.txt").write_text("\n".join(items["item_id"]))
    prepare(
        shop / "log.csv",
        shop / "data",
        "shop",
        {"image": str(shop / "image.npy")},
        time_col="timestamp",
        split="leave_last_out",
        items=str(shop / "items.csv"),
    )
    dataset = MultimodalRecDataset(
        shop / "data", "shop", pre_transform=FeatureGraph(k=10)
    )
seed_everything(0)
data = ToRecGraph()(dataset[0])
model = TMFUN.from_data(data)
trainer = Trainer(max_epochs=10, logger=False, enable_checkpointing=False)
module = RecommenderModule(model, data, lr=5e-3)
trainer.fit(module, InteractionDataModule(data, batch_size=512))

recommender = Recommender(model, dataset)
titles = recommender.titles
print("For a customer of the log:")
print(recommender.recommend(["anna-7"], k=5).lists()[0])
print("For one who came after training and bought two teas:")
teas = items["item_id"][items["group"] == "tea"][:2].tolist()
found = recommender.recommend(history={"new": teas}, k=5).lists()[0]
print(titles[found].tolist())
print("The same from what is in stock, two of a kind at most:")
stock = items["item_id"][::3]
few = recommender.recommend(
    history={"new": teas}, k=5, items=stock, max_per_group=2
)
print(titles[few.lists()[0]].tolist())
print("Like the first of the teas:")
similar, _ = recommender.similar_items(teas[:1], k=4)
print(titles[similar[0, 1:]].tolist())
print("Scores of pairs, for a ranking stage:")
print(recommender.score(["anna-7"] * 3, items["item_id"][:3]).score.round(3))

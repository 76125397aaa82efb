"""Trains LightGCN and TMFUN and compares them with the most popular items.

    python examples/train_tmfun.py                           # Synthetic data.
    python examples/train_tmfun.py --root DIR --name tiktok  # MMRec format.

Test Recall@20 / NDCG@20 on the synthetic data set (seed 0, 2026-11-25):

    MostPopular  0.0646 / 0.0282
    LightGCN     0.1448 / 0.0719
    TMFUN        0.2977 / 0.1438

On TikTok, published (by the DiffMM paper, with a third modality, text) and
reproduced (image and audio; seed 0, 2026-11-25, the first two by the second
command, TMFUN by benchmarks/accuracy.py --budget 0):

    MostPopular        -         0.0596 / 0.0254
    LightGCN     0.0653 / 0.0282 0.0872 / 0.0400
    TMFUN              -         0.1125 / 0.0481
"""

import argparse
from pathlib import Path

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.transforms import ToRecGraph

parser = argparse.ArgumentParser()
parser.add_argument("--root", help="folder of the data (default: synthetic)")
parser.add_argument("--name", help="name of the data set in --root")
parser.add_argument("--epochs", type=int, help="at most (default: 50, or 500)")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("runs/train_tmfun"))
args = parser.parse_args()

# The synthetic data set is small: more and longer steps in fewer epochs.
if args.root is None:
    epochs, lr, batch_size = 50, 5e-3, 512
else:
    epochs, lr, batch_size = 500, 2e-3, 2048
if args.epochs is not None:
    epochs = args.epochs

# One `HeteroData` with features, interactions and feature graphs:
source = DatasetOptions(args.root, args.name, k=10)
dataset = source.load()
data = ToRecGraph()(dataset[0])  # The form that models read.

results = {"MostPopular": evaluate(MostPopular.from_data(data), data)}
for model_cls in (LightGCN, TMFUN):
    name = model_cls.__name__
    seed_everything(args.seed)
    model = model_cls.from_data(data)  # Only reads sizes.
    module = RecommenderModule(
        model, data, lr=lr, dataset=dataset, source=source
    )
    batches = InteractionDataModule(data, batch_size, seed=args.seed)
    trainer = Trainer(
        max_epochs=epochs,
        devices=1,
        # Early stopping on validation Recall@20; keeps best and last.
        callbacks=default_callbacks(str(args.out / name)),
        logger=CSVLogger(args.out, name, version=""),
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    # The test split is read once, with the weights of the best epoch:
    recommender = Recommender.load(args.out / name / "best.ckpt", dataset)
    results[name] = recommender.evaluate("test")

columns = ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]
print(f"\n{'test':<12}" + "".join(f"{column:>11}" for column in columns))
for name, metrics in results.items():
    cells = "".join(f"{metrics[column]:>11.4f}" for column in columns)
    print(f"{name:<12}{cells}")
print(f"\nCheckpoints and learning curves are in {args.out}")

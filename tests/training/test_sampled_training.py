import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import FREEDOM, TMFUN, LightGCN
from tmfun_pyg.training import InteractionDataModule, RecommenderModule
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph


@pytest.fixture(scope="module")
def data():
    dataset = SyntheticMultimodal(
        num_users=300, num_items=200, seed=0, transform=FeatureGraph(k=5)
    )
    return ToRecGraph()(dataset[0])


def fit(model, data, epochs, **kwargs):
    module = RecommenderModule(model, data, lr=1e-2)
    Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, InteractionDataModule(data, 256, **kwargs))
    return module


def test_all_neighbors_train_as_the_whole_graph(data):
    """Batches and negatives are the same, so that weights have to be."""
    weights = []
    for num_neighbors in (None, [-1, -1]):
        seed_everything(0, verbose=False)
        model = LightGCN.from_data(data, channels=8, num_layers=2)
        fit(model, data, 1, num_neighbors=num_neighbors, num_similar=-1)
        weights.append(model.item_embedding.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def test_learns_from_few_neighbors_with_sparse_gradients(data):
    seed_everything(0, verbose=False)
    model = TMFUN.from_data(data, channels=16, num_layers=2, sparse=True)
    module = fit(model, data, 15, num_neighbors=[4, 2], num_similar=2)
    adam, sparse_adam = module.configure_optimizers()
    assert isinstance(sparse_adam, torch.optim.SparseAdam)
    parameters = [
        p
        for optimizer in (adam, sparse_adam)
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert len(parameters) == len(list(model.parameters()))
    popular = evaluate(MostPopular.from_data(data), data, "test")
    found = evaluate(model, data, "test")
    assert found["recall@20"] > 1.2 * popular["recall@20"]


@pytest.mark.parametrize("softmax_negatives", [0, 16])
def test_negatives_are_those_that_the_loss_reads(
    data, softmax_negatives, monkeypatch
):
    model = LightGCN.from_data(
        data, num_layers=1, softmax_negatives=softmax_negatives
    )
    shapes, loss = set(), model.loss

    def keep(graph, user, pos_item, neg_item):
        shapes.add((len(pos_item), *neg_item.shape))
        return loss(graph, user, pos_item, neg_item)

    monkeypatch.setattr(model, "loss", keep)
    fit(model, data, 1, num_neighbors=[2])
    assert (256, softmax_negatives or 256, 1) in shapes


def test_models_without_neighborhoods_are_refused(data):
    with pytest.raises(ValueError, match="FREEDOM cannot be trained on"):
        fit(FREEDOM.from_data(data), data, 1, num_neighbors=[2])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resumed_training_draws_the_same(data, tmp_path, num_workers):
    weights = []
    for parts in ([3], [1, 3]):
        path = None
        for epochs in parts:
            seed_everything(0, verbose=False)
            model = LightGCN.from_data(data, channels=8, num_layers=2)
            module = RecommenderModule(model, data, lr=1e-2)
            torch.rand(epochs)  # Whatever else was drawn before.
            trainer = Trainer(
                accelerator="cpu",
                max_epochs=epochs,
                limit_val_batches=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            loader = InteractionDataModule(
                data, 2048, num_neighbors=[3, 3], num_workers=num_workers
            )
            trainer.fit(module, loader, ckpt_path=path)
            path = tmp_path / "last.ckpt"
            trainer.save_checkpoint(path)
        weights.append(model.item_embedding.weight.detach())
    assert torch.equal(*weights)

import copy
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch_geometric.data import HeteroData

from tmfun_pyg.evaluation import RankingEvaluator
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training.callbacks import MONITOR
from tmfun_pyg.training.checkpoint import (
    Dataset,
    check_fingerprint,
    describe_run,
)
from tmfun_pyg.training.dataset_options import DatasetOptions
from tmfun_pyg.training.interaction_data_module import InteractionDataModule
from tmfun_pyg.utils.edges import check_graph_k, graph_k
from tmfun_pyg.utils.user_items import UserItems


class RecommenderModule(LightningModule):
    r"""Trains a :class:`~tmfun_pyg.nn.RankingModel` with Adam, and validates
    and tests it by full ranking.

    Embedding tables with sparse gradients are trained with
    :class:`torch.optim.SparseAdam`, which updates only the rows that a batch
    reads.

    Once per epoch, it logs the loss as :obj:`train_loss`, its parts as
    :obj:`train_bpr` and so on, and the metrics of
    :func:`~tmfun_pyg.evaluation.evaluate` as :obj:`val_recall@20` or
    :obj:`test_ndcg@10`.

    Args:
        model (RankingModel): The model.
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`. It is not part of the
            module's state.
        lr (float, optional): The learning rate. If an
            :class:`InteractionDataModule` chooses batches larger than 2,048,
            it grows with the square root of their ratio, as for Adam in `"On
            the SDEs and Scaling Rules for Adaptive Gradient Algorithms"
            <https://arxiv.org/abs/2205.10287>`_. (default: :obj:`2e-3`)
        ks (Sequence[int], optional): The list lengths to evaluate.
            (default: :obj:`(5, 10, 20, 50)`)
        dataset (MultimodalRecDataset or SyntheticMultimodal, optional): The
            data set. If given, checkpoints hold everything that
            :meth:`tmfun_pyg.recommender.Recommender.load` needs, and loading
            one of another data set is an error. (default: :obj:`None`)
        source (DatasetOptions, optional): Where the data set was read from,
            so that the checkpoint alone is enough to find it again.
            (default: :obj:`None`)

    Raises:
        ValueError: If the model was built for another data set, or for feature
            graphs with another :obj:`k`.
    """

    def __init__(
        self,
        model: RankingModel,
        data: HeteroData,
        lr: float = 2e-3,
        ks: Sequence[int] = (5, 10, 20, 50),
        dataset: Optional[Dataset] = None,
        source: Optional[DatasetOptions] = None,
    ) -> None:
        super().__init__()
        check_graph_k(model.graph_k, graph_k(data))
        ks = list(ks)
        self.save_hyperparameters("lr", "ks")
        self.model = model
        self.data = self.epoch_data = data
        self.lr, self.lr_scale = lr, 1.0
        self.ks = ks
        # With two optimizers, Lightning leaves the steps to the module:
        self.automatic_optimization = len(self._sparse_parameters()) == 0
        self.description: Dict[str, Any] = {}
        if dataset is not None:
            check_fingerprint(model.fingerprint, dataset)
            self.description = describe_run(model, dataset, source)
            model.fingerprint = dataset.fingerprint

    def setup(self, stage: str) -> None:
        r"""Moves the graph to the device of the model, and fits the
        closed-form parts of the model.
        """
        trainer: Any = self.trainer
        if isinstance(trainer.datamodule, InteractionDataModule):
            self.lr_scale = trainer.datamodule.lr_scale
            limit = getattr(self.model, "softmax_negatives", 0)
            trainer.datamodule.max_negatives = limit or None
        device = trainer.strategy.root_device
        self.data = copy.copy(self.data).to(device)
        self.epoch_data = self.data
        self.seed = torch.initial_seed()
        if stage == "fit":  # Before a resumed run loads its weights.
            self.model.to(device).fit(self.data)

    def _sparse_parameters(self) -> List[Tensor]:
        return [
            module.weight
            for module in self.model.modules()
            if isinstance(module, torch.nn.Embedding) and module.sparse
        ]

    def configure_optimizers(self) -> List[torch.optim.Optimizer]:
        r"""Returns fused Adam, and a second optimizer for weights with sparse
        gradients, if there are any.
        """
        sparse = self._sparse_parameters()
        taken = {id(parameter) for parameter in sparse}
        dense = [p for p in self.parameters() if id(p) not in taken]
        lr = self.lr * self.lr_scale
        optimizers: List[torch.optim.Optimizer] = []
        if len(dense) > 0:
            optimizers.append(torch.optim.Adam(dense, lr=lr, fused=True))
        if len(sparse) > 0:
            optimizers.append(torch.optim.SparseAdam(sparse, lr=lr))
        return optimizers

    def on_train_epoch_start(self) -> None:
        r"""Prepares the graph of the epoch."""
        data = self.model.in_own_precision(self.data)
        self.epoch_data = self.model.prepare(data, self.current_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        r"""Seeds the random numbers of a step by its number, so that a resumed
        run samples the same as an uninterrupted one.
        """
        torch.manual_seed((self.seed + self.global_step) % 2**63)

    def training_step(
        self,
        batch: Union[Tuple[Tensor, Tensor, Tensor], HeteroData],
        batch_idx: int,
    ) -> Tensor:
        r"""Returns the loss of a batch, :obj:`(user, pos_item, neg_item)` or
        a sampled neighborhood.
        """
        data = self.epoch_data
        if isinstance(batch, HeteroData):
            data, item = self.model.in_own_precision(batch), batch["item"]
            index = item.dst_pos_index, item.dst_neg_index
            batch = batch["user"].src_index, *index
        parts = self.model.loss(data, *batch)
        loss = torch.stack(list(parts.values())).sum()
        # Reading a value in each step would make the host wait for the device.
        log: Dict[str, Any] = {"on_step": False, "on_epoch": True}
        log.update(sync_dist=True, batch_size=batch[0].numel())
        logged = {f"train_{name}": part for name, part in parts.items()}
        self.log_dict(logged, **log)
        self.log("train_loss", loss, prog_bar=True, **log)
        if not self.automatic_optimization:
            self._step(loss)
        return loss

    def _step(self, loss: Tensor) -> None:
        optimizers = self.optimizers()
        if not isinstance(optimizers, list):
            optimizers = [optimizers]
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()

    def on_validation_epoch_start(self) -> None:
        r"""Computes the embeddings, once for all blocks of users."""
        data = self.model.in_own_precision(self.data)
        scorer = self.model.scorer(data)
        edge_index = self.data["user", "interacts", "item"].edge_index
        seen = UserItems.from_edge_index(edge_index, scorer.num_users)
        self._evaluator = RankingEvaluator(scorer, seen, self.ks, sync=True)

    def validation_step(
        self, batch: Tuple[Tensor, Tensor], batch_idx: int
    ) -> None:
        r"""Ranks the items for one block of users."""
        self._evaluator.update(*batch)

    def on_validation_epoch_end(self) -> None:
        r"""Logs the validation metrics."""
        self._log_metrics("val")

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        r"""Logs the test metrics."""
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        for name, value in self._evaluator.compute().items():
            name = f"{split}_{name}"
            # Equal on all ranks; "sync_dist" tells Lightning so.
            self.log(name, value, prog_bar=name == MONITOR, sync_dist=True)
        del self._evaluator  # Its embeddings take a lot of memory.

    def on_save_checkpoint(self, checkpoint: Dict[str, Any]) -> None:
        r"""Adds the description of the model and data set."""
        checkpoint.update(self.description)

    def on_load_checkpoint(self, checkpoint: Dict[str, Any]) -> None:
        r"""Checks that the weights are of the same users, items and data."""
        about = checkpoint.get("recommender", {})
        saved = about.get("fingerprint")
        own = self.description.get("recommender", {}).get("fingerprint")
        if None not in (saved, own) and saved != own:
            raise ValueError(
                f"The data set must be the one of the checkpoint, with the "
                f"fingerprint {saved} (got {own})"
            )
        check_graph_k(about.get("graph_k"), graph_k(self.data))

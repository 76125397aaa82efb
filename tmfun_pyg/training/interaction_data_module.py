from typing import Tuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import HeteroData

from tmfun_pyg.loader import (
    HeldOutDataset,
    InteractionDataset,
    InteractionSampler,
)


class InteractionDataModule(LightningDataModule):
    r"""Feeds a :class:`~tmfun_pyg.training.RecommenderModule`: batches of
    training interactions with negative items, and blocks of users with their
    held-out interactions for validation and test.

    Batches are made where the model lives: on the trainer's device, or on the
    device of :obj:`data` without a trainer.

    Args:
        data (HeteroData): The data set, as the classes of
            :mod:`tmfun_pyg.datasets` hold it.
        batch_size (int, optional): The number of interactions in a training
            batch. (default: :obj:`2048`)
        num_negatives (int, optional): The number of negative items for each
            interaction, drawn evenly from the items its user has not
            interacted with. (default: :obj:`1`)
        seed (int, optional): The seed of order and negatives, not negative.
            (default: :obj:`0`)

    Raises:
        ValueError: If the trainer uses more than one device.
    """

    def __init__(
        self,
        data: HeteroData,
        batch_size: int = 2048,
        num_negatives: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.num_negatives = num_negatives
        self.seed = seed

    def setup(self, stage: str) -> None:
        r"""Makes sure that no two devices train on the same batches."""
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"Training takes place on one device: pass 'devices=1' to "
                f"the trainer (got {self.trainer.world_size})"
            )

    @property
    def device(self) -> torch.device:
        r"""Where batches are made."""
        if self.trainer is not None:
            return self.trainer.strategy.root_device
        return self.data["user", "interacts", "item"].edge_index.device

    def train_dataloader(
        self,
    ) -> DataLoader[Tuple[Tensor, Tensor, Tensor]]:
        r"""Returns batches :obj:`(user, pos_item, neg_item)`."""
        data = self.data
        edge_index = data["user", "interacts", "item"].edge_index
        dataset = InteractionDataset(
            edge_index.to(self.device),
            data["user"].num_nodes,
            data["item"].num_nodes,
            self.num_negatives,
        )
        sampler = InteractionSampler(dataset, self.batch_size, self.seed)
        return DataLoader(dataset, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Tuple[Tensor, Tensor]]:
        r"""Returns blocks :obj:`(user, edge_label_index)`."""
        return self._held_out_dataloader("val")

    def test_dataloader(self) -> DataLoader[Tuple[Tensor, Tensor]]:
        r"""Returns blocks :obj:`(user, edge_label_index)`."""
        return self._held_out_dataloader("test")

    def _held_out_dataloader(
        self, split: str
    ) -> DataLoader[Tuple[Tensor, Tensor]]:
        dataset = HeldOutDataset(self.data, split, device=self.device)
        return DataLoader(dataset, batch_size=None)

from functools import cached_property
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler
from torch_geometric.data import HeteroData

from tmfun_pyg.loader import (
    HeldOutDataset,
    InteractionDataset,
    InteractionSampler,
    SampledInteractionDataset,
)
from tmfun_pyg.utils.messages import check_count
from tmfun_pyg.utils.seeded import seeded

# The default batch size, and the number of steps per epoch above which batches
# of the whole graph grow instead:
BATCH_SIZE, MAX_STEPS = 2048, 128


class InteractionDataModule(LightningDataModule):
    r"""Feeds a :class:`~tmfun_pyg.training.RecommenderModule`: batches of
    training interactions with negative items, and blocks of users with their
    held-out interactions for validation and test.

    Batches are made where the model lives: on the trainer's device, or on the
    device of :obj:`data` without a trainer. With several processes, each makes
    its own part of every batch and of the blocks.

    Args:
        data (HeteroData): A graph of
            :class:`~tmfun_pyg.transforms.ToRecGraph`.
        batch_size (int or str, optional): The global batch size in
            interactions, over all processes. With :obj:`"auto"`, it is 2,048,
            or on the whole graph the least multiple of it that makes at most
            128 steps an epoch: a step costs nearly the same at any batch size,
            so an epoch then takes time linear in the interactions, not
            quadratic. The learning rate then grows with the square root of the
            batch size. (default: :obj:`"auto"`)
        num_negatives (int, optional): The number of negative items per
            interaction, drawn uniformly from the items that its user has not
            interacted with. On sampled neighborhoods, a batch has about as
            many as the model's softmax reads, if its loss is one.
            (default: :obj:`1`)
        seed (int, optional): The seed of order and negatives, not negative.
            (default: :obj:`0`)
        num_neighbors (List[int], optional): If given, trains on sampled
            neighborhoods, see
            :class:`~tmfun_pyg.loader.SampledInteractionDataset`; the graph
            stays on the CPU. (default: :obj:`None`)
        num_similar (int, optional): The number of similar items to sample for
            such a neighborhood. (default: :obj:`5`)
        num_workers (int, optional): The number of processes that sample
            neighborhoods; 0 for the main process. (default: :obj:`0`)
        val_users (int, optional): The number of users to validate on, drawn
            once from :obj:`seed` if the split has more; :obj:`None` for all.
            Testing uses all users. (default: :obj:`20_000`)
    """

    def __init__(
        self,
        data: HeteroData,
        batch_size: Union[int, Literal["auto"]] = "auto",
        num_negatives: int = 1,
        seed: int = 0,
        num_neighbors: Optional[List[int]] = None,
        num_similar: int = 5,
        num_workers: int = 0,
        val_users: Optional[int] = 20_000,
    ) -> None:
        super().__init__()
        check_count("num_workers", num_workers, 0)
        if val_users is not None:
            check_count("val_users", val_users)
        if num_workers > 0 and num_neighbors is None:
            raise ValueError(
                f"'num_workers' must be 0 without 'num_neighbors': workers "
                f"only sample neighborhoods (got {num_workers})"
            )
        num_parts = 1
        if batch_size == "auto":
            if num_neighbors is None:
                num_edges = data["user", "interacts", "item"].num_edges
                num_parts = max(1, -(-num_edges // (BATCH_SIZE * MAX_STEPS)))
            batch_size = BATCH_SIZE * num_parts
        check_count("batch_size", batch_size)
        self.data = data
        self.batch_size = batch_size
        # The factor of the learning rate, see `RecommenderModule`:
        self.lr_scale = num_parts**0.5
        # The most negatives in a sampled batch, set there:
        self.max_negatives: Optional[int] = None
        self.num_negatives = num_negatives
        self.seed = seed
        self.num_neighbors = num_neighbors
        self.num_similar = num_similar
        self.num_workers = num_workers
        self.val_users = val_users

    @property
    def device(self) -> torch.device:
        r"""The device on which batches are made."""
        if self.trainer is not None:
            return self.trainer.strategy.root_device
        return self.data["user", "interacts", "item"].edge_index.device

    @property
    def _replica(self) -> Dict[str, int]:
        """The number of processes, and the rank of this one."""
        size, rank = 1, 0
        if self.trainer is not None:
            size, rank = self.trainer.world_size, self.trainer.global_rank
        return {"num_replicas": size, "rank": rank}

    def train_dataloader(self) -> DataLoader[Any]:
        r"""Returns a loader of batches :obj:`(user, pos_item, neg_item)`, or
        of sampled neighborhoods.

        Raises:
            ValueError: If :obj:`batch_size` is not divisible by the number of
                processes.
        """
        data = self.data
        dataset: Union[InteractionDataset, SampledInteractionDataset]
        num_workers = 0  # Batches made on a device need no workers.
        if self.num_neighbors is not None:
            dataset = SampledInteractionDataset(
                data,
                self.num_neighbors,
                self.num_similar,
                self.num_negatives,
                self.max_negatives,
            )
            num_workers = self.num_workers
        else:
            dataset = InteractionDataset(
                data["user", "interacts", "item"].edge_index.to(self.device),
                data["user"].num_nodes,
                self.num_negatives,
            )
        sampler = InteractionSampler(
            dataset, self.batch_size, self.seed, **self._replica
        )
        if self.trainer is not None:  # Lightning sets it after workers start.
            progress: Any = self.trainer.fit_loop.epoch_progress
            sampler.set_epoch(progress.current.processed)
        return DataLoader(
            dataset, batch_size=None, sampler=sampler, num_workers=num_workers
        )

    @cached_property
    def val_sample(self) -> Optional[Tensor]:
        r"""The users to validate on, ascending, or :obj:`None` for all users
        of the split. Checkpoints hold them, so that a resumed run compares
        epochs on the same users.
        """
        if self.val_users is None:
            return None
        users = HeldOutDataset(self.data, "val").users.cpu()
        if users.numel() <= self.val_users:
            return None
        with seeded(self.seed):
            drawn = torch.randperm(users.numel())[: self.val_users]
        return users[drawn].sort().values

    def state_dict(self) -> Dict[str, Any]:
        r"""Returns the users to validate on, if they were sampled."""
        sample = vars(self).get("val_sample")
        return {} if sample is None else {"val_sample": sample}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        r"""Restores the users to validate on.

        Raises:
            ValueError: If there are none.
        """
        match state_dict:
            case {"val_sample": Tensor() as sample}:
                self.val_sample = sample
            case _:
                raise ValueError(
                    "The checkpoint must hold the users of validation as a "
                    "tensor 'val_sample' of the data module"
                )

    def val_dataloader(self) -> DataLoader[Tuple[Tensor, Tensor]]:
        r"""Returns a loader of blocks :obj:`(user, edge_label_index)`.

        Raises:
            ValueError: If the checkpoint that training resumes from has a
                different number of users to validate on.
        """
        users = self.val_sample
        if users is not None and users.numel() != self.val_users:
            raise ValueError(
                f"'val_users' must be {users.numel()} as in the checkpoint, "
                f"whose best epoch is the best for these users (got "
                f"{self.val_users})"
            )
        return self._held_out_dataloader("val", users)

    def test_dataloader(self) -> DataLoader[Tuple[Tensor, Tensor]]:
        r"""Returns a loader of blocks :obj:`(user, edge_label_index)`."""
        return self._held_out_dataloader("test")

    def _held_out_dataloader(
        self, split: str, users: Optional[Tensor] = None
    ) -> DataLoader[Tuple[Tensor, Tensor]]:
        dataset = HeldOutDataset(
            self.data,
            split,
            device=self.device,
            items=None,
            users=users,
            **self._replica,
        )
        # The blocks are this process' share already. A trainer would replace
        # any other type of sampler, and divide them again.
        sampler: DistributedSampler[int] = DistributedSampler(
            dataset, num_replicas=1, rank=0, shuffle=False
        )
        return DataLoader(dataset, batch_size=None, sampler=sampler)

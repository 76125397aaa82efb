"""Embedding tables whose rows are sharded across processes."""

import math
from typing import Any, Dict, List, Type, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tmfun_pyg.nn.models.embedding_model import EmbeddingModel
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.messages import check_positive

ModelType = TypeVar("ModelType", bound=EmbeddingModel)

NAME = "table"  # Of the only table and the only feature of a collection.
BLOCK = 2**22  # The most numbers that are broadcast at a time.


class ShardedEmbedding(torch.nn.Module):
    r"""An embedding table of which each process holds a range of rows: a
    row-wise sharded :class:`EmbeddingCollection` of `TorchRec
    <https://docs.pytorch.org/torchrec>`_.

    Rows are sent to the process that requests them, and their gradients back
    to the process that holds them. There, the backward pass applies them as an
    SGD step, averaged over processes as in data parallel training. Neither
    gradients nor optimizer states are stored. The rows are not parameters, so
    no other optimizer and no :class:`DistributedDataParallel` sees them.

    All processes have to call each method together.

    Args:
        size (int): The number of rows.
        channels (int): The size of a row.
        lr (float): The learning rate.

    Raises:
        ValueError: If there is no process group, or :obj:`lr` is not positive.
    """

    def __init__(self, size: int, channels: int, lr: float) -> None:
        super().__init__()
        check_positive("lr", lr)
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError(
                "Sharded tables need a group of processes: call "
                "torch.distributed.init_process_group() before the model is "
                "made"
            )
        self.size, self.channels = size, channels
        #: The range of rows that this process holds.
        self.rows = self._rows_of(dist.get_rank())
        # In a list, so that it is not registered as a submodule:
        self._collection = [_shard(size, channels, lr)]
        (shard,) = self._collection[0].parameters()
        #: The rows of this process.
        self.shard: Tensor = shard.detach().view(len(self.rows), channels)
        self.reset_parameters()

    def _rows_of(self, rank: int) -> range:
        count = -(-self.size // dist.get_world_size())
        return range(self.size)[rank * count : (rank + 1) * count]

    def reset_parameters(self) -> None:
        r"""Resets all rows, as :meth:`torch.nn.init.xavier_uniform_` does for
        a whole table.
        """
        bound = math.sqrt(6 / (self.size + self.channels))
        seed = int(torch.randint(2**62, ())) + dist.get_rank()
        generator = torch.Generator(self.shard.device).manual_seed(seed)
        self.shard.uniform_(-bound, bound, generator=generator)

    def forward(self, index: Tensor) -> Tensor:
        r"""Returns rows, of shape :obj:`[*index.shape, channels]`.

        Args:
            index (torch.Tensor): The rows that this process requests, of any
                shape, which may differ between processes.
        """
        from torchrec import KeyedJaggedTensor

        # One list of rows, since processes must have equal numbers of lists:
        count = torch.tensor([index.numel()], device=index.device)
        asked = KeyedJaggedTensor([NAME], index.flatten(), lengths=count)
        rows = self._collection[0](asked)[NAME].values()
        return rows.view(*index.shape, self.channels)

    @property
    def weight(self) -> Tensor:
        r"""The whole table, on each process, without gradient.

        Raises:
            ValueError: If gradients are enabled.
        """
        if torch.is_grad_enabled():
            raise ValueError(
                "Sharded tables are read as a whole without gradients alone: "
                "train on sampled neighborhoods ('num_neighbors'), and compute "
                "embeddings in torch.no_grad()"
            )
        return self._gather()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Raises for conversions and moves, which would not reach the rows."""
        found = fn(self.shard[:0])
        if (found.dtype, found.device) != (self.shard.dtype, self.shard.device):
            raise ValueError(
                f"Sharded tables must stay of {self.shard.dtype} on "
                f"'{self.shard.device}' (got {found.dtype} on "
                f"'{found.device}')"
            )
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def _gather(self, is_kept: bool = True) -> Tensor:
        """Returns all rows, or only takes part for other processes. Blocks
        bound the memory besides the result.
        """
        out = self.shard.new_empty(self.size if is_kept else 0, self.channels)
        step = max(1, BLOCK // self.channels)
        for owner in range(dist.get_world_size()):
            rows = self._rows_of(owner)
            for low in rows[::step]:
                high = min(low + step, rows.stop)
                block = self.shard.new_empty(high - low, self.channels)
                if owner == dist.get_rank():
                    begin = low - rows.start
                    block.copy_(self.shard[begin : begin + len(block)])
                dist.broadcast(block, owner)
                if is_kept:
                    out[low:high] = block
        return out

    def _save_to_state_dict(
        self, destination: Dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """Writes the state of a :class:`torch.nn.Embedding`, only in the first
        process, which saves it.
        """
        is_first = dist.get_rank() == 0
        weight = self._gather(is_first)
        if is_first:
            destination[f"{prefix}weight"] = weight

    def _load_from_state_dict(
        self,
        state_dict: Dict[str, Any],
        prefix: str,
        local_metadata: Dict[str, Any],
        strict: bool,
        missing_keys: List[str],
        unexpected_keys: List[str],
        error_msgs: List[str],
    ) -> None:
        """Loads the rows of this process from a whole table."""
        key = f"{prefix}weight"
        weight = state_dict.get(key)
        if weight is None:
            missing_keys.append(key)
        elif weight.shape != (self.size, self.channels):
            error_msgs.append(
                f"'{key}' must be of shape {(self.size, self.channels)} (got "
                f"{tuple(weight.shape)})"
            )
        else:
            self.shard.copy_(weight[self.rows.start : self.rows.stop])

    def extra_repr(self) -> str:
        r"""Returns the text in the parentheses of :meth:`__repr__`."""
        return f"{self.size}, {self.channels}, rows={self.rows}"


def sharded(model_cls: Type[ModelType], lr: float) -> Type[ModelType]:
    r"""Returns a model class whose ID embeddings are
    :class:`ShardedEmbedding` tables:

    .. code-block:: python

        torch.distributed.init_process_group("gloo")
        model = sharded(TMFUN, lr=10.0).from_data(data, num_layers=2)

    Train it on sampled neighborhoods. Its checkpoints are those of
    :obj:`model_cls`, so the model with whole tables loads them in a single
    process.

    Args:
        model_cls (Type[EmbeddingModel]): The model class.
        lr (float): The SGD learning rate of the tables.

    Raises:
        ValueError: If the model cannot be trained on sampled neighborhoods, or
            learns nothing but tables, which data parallel training does not
            support.
    """
    if not (model_cls.supports_sampling and model_cls.needs_features):
        raise ValueError(
            f"'model_cls' must be a model that is trained on sampled "
            f"neighborhoods and has weights beside its tables, such as TMFUN "
            f"(got {model_cls.__name__})"
        )

    def embedding(
        self: EmbeddingModel, size: int, channels: int
    ) -> ShardedEmbedding:
        return ShardedEmbedding(size, channels, lr)

    def reset_embedding(self: EmbeddingModel, table: ShardedEmbedding) -> None:
        table.reset_parameters()

    def add_to_embedding(
        self: EmbeddingModel, table: ShardedEmbedding, rows: Tensor
    ) -> None:
        held = rows[table.rows.start : table.rows.stop]
        table.shard[:, : rows.size(1)] += held

    own = {
        "embedding": embedding,
        "reset_embedding": reset_embedding,
        "add_to_embedding": add_to_embedding,
    }
    return type(model_cls.__name__, (model_cls,), own)


def _shard(size: int, channels: int, lr: float) -> Any:
    """Allocates the rows of this process, never the whole table."""
    import_extra("torchrec", "sharded")
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec import EmbeddingCollection, EmbeddingConfig
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.shard import shard
    from torchrec.distributed.sharding_plan import row_wise

    config = EmbeddingConfig(
        num_embeddings=size,
        embedding_dim=channels,
        name=NAME,
        feature_names=[NAME],
        init_fn=lambda weight: None,
    )
    sgd = {"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": lr}
    return shard(
        EmbeddingCollection(tables=[config], device=torch.device("meta")),
        # TorchRec's own plan might replicate a table instead of sharding it.
        {NAME: row_wise(compute_kernel="fused")},
        device=torch.get_default_device(),
        sharder=EmbeddingCollectionSharder(sgd),
    )

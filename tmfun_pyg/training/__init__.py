from tmfun_pyg.training.callbacks import default_callbacks
from tmfun_pyg.training.checkpoint import AtomicCheckpointIO
from tmfun_pyg.training.dataset_options import DatasetOptions
from tmfun_pyg.training.interaction_data_module import InteractionDataModule
from tmfun_pyg.training.recommender_module import RecommenderModule
from tmfun_pyg.training.sharded_embedding import ShardedEmbedding, sharded

__all__ = [
    "AtomicCheckpointIO",
    "DatasetOptions",
    "InteractionDataModule",
    "RecommenderModule",
    "ShardedEmbedding",
    "default_callbacks",
    "sharded",
]

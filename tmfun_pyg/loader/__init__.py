from tmfun_pyg.loader.held_out_dataset import HeldOutDataset
from tmfun_pyg.loader.interaction_dataset import InteractionDataset
from tmfun_pyg.loader.interaction_sampler import InteractionSampler
from tmfun_pyg.loader.negative_sampler import NegativeSampler
from tmfun_pyg.loader.sampled_interaction_dataset import (
    SampledInteractionDataset,
)
from tmfun_pyg.loader.uniform_neighbor_sampler import UniformNeighborSampler

__all__ = [
    "HeldOutDataset",
    "InteractionDataset",
    "InteractionSampler",
    "NegativeSampler",
    "SampledInteractionDataset",
    "UniformNeighborSampler",
]

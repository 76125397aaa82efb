"""Layers, models and losses; needs nothing but torch and torch_geometric."""

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.fusion import MultiStepFusion
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models import (
    FREEDOM,
    LATTICE,
    MGCN,
    MICRO,
    TMFUN,
    EmbeddingRecommender,
    EmbeddingTable,
    LightGCN,
    MostPopular,
    MultimodalRecommender,
    Recommender,
    SampledRecommender,
)

__all__ = [
    "FREEDOM",
    "LATTICE",
    "MGCN",
    "MICRO",
    "TMFUN",
    "EmbeddingRecommender",
    "EmbeddingTable",
    "FeatureGraphConv",
    "LightGCN",
    "ModalityAttention",
    "MostPopular",
    "MultiStepFusion",
    "MultimodalRecommender",
    "Recommender",
    "SampledRecommender",
    "info_nce",
]

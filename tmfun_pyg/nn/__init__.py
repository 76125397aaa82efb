"""Layers, models and losses; needs nothing but torch and torch_geometric."""

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv
from tmfun_pyg.nn.fusion import MultiStepFusion
from tmfun_pyg.nn.loss import info_nce
from tmfun_pyg.nn.models import (
    BM3,
    BPRMF,
    FREEDOM,
    LATTICE,
    MGCN,
    MICRO,
    MMGCN,
    TMFUN,
    VBPR,
    ContentKNN,
    EmbeddingRecommender,
    EmbeddingTable,
    LightGCN,
    MostPopular,
    MultimodalRecommender,
    Recommender,
    SampledRecommender,
    SimGCL,
)

__all__ = [
    "BM3",
    "BPRMF",
    "FREEDOM",
    "LATTICE",
    "MGCN",
    "MICRO",
    "MMGCN",
    "TMFUN",
    "VBPR",
    "ContentKNN",
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
    "SimGCL",
    "info_nce",
]

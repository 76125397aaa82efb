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
    EmbeddingRecommender,
    EmbeddingTable,
    LightGCN,
    MultimodalRecommender,
    RankingModel,
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
    "EmbeddingRecommender",
    "EmbeddingTable",
    "FeatureGraphConv",
    "LightGCN",
    "ModalityAttention",
    "MultiStepFusion",
    "MultimodalRecommender",
    "RankingModel",
    "SampledRecommender",
    "SimGCL",
    "info_nce",
]

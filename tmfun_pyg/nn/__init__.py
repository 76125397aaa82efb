"""Layers, models and losses; needs nothing but torch and torch_geometric."""

from tmfun_pyg.nn.attention import ModalityAttention
from tmfun_pyg.nn.conv import FeatureGraphConv, InteractionPropagation
from tmfun_pyg.nn.fusion import ContentFusion, MultiStepFusion
from tmfun_pyg.nn.loss import BPRLoss, L2Loss, ScaledContrast, info_nce
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
    ColdItems,
    EmbeddingModel,
    Embeddings,
    LightGCN,
    MultimodalModel,
    RankingModel,
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
    "BPRLoss",
    "ColdItems",
    "ContentFusion",
    "EmbeddingModel",
    "Embeddings",
    "FeatureGraphConv",
    "InteractionPropagation",
    "L2Loss",
    "LightGCN",
    "ModalityAttention",
    "MultiStepFusion",
    "MultimodalModel",
    "RankingModel",
    "ScaledContrast",
    "SimGCL",
    "info_nce",
]

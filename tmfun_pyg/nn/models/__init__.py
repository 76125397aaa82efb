from tmfun_pyg.nn.models.bm3 import BM3
from tmfun_pyg.nn.models.bprmf import BPRMF
from tmfun_pyg.nn.models.embedding_recommender import EmbeddingRecommender
from tmfun_pyg.nn.models.embedding_table import EmbeddingTable
from tmfun_pyg.nn.models.freedom import FREEDOM
from tmfun_pyg.nn.models.lattice import LATTICE
from tmfun_pyg.nn.models.lightgcn import LightGCN
from tmfun_pyg.nn.models.mgcn import MGCN
from tmfun_pyg.nn.models.micro import MICRO
from tmfun_pyg.nn.models.mmgcn import MMGCN
from tmfun_pyg.nn.models.multimodal_recommender import MultimodalRecommender
from tmfun_pyg.nn.models.ranking_model import RankingModel
from tmfun_pyg.nn.models.sampled_recommender import SampledRecommender
from tmfun_pyg.nn.models.simgcl import SimGCL
from tmfun_pyg.nn.models.tmfun import TMFUN
from tmfun_pyg.nn.models.vbpr import VBPR

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
    "LightGCN",
    "MultimodalRecommender",
    "RankingModel",
    "SampledRecommender",
    "SimGCL",
]

from tmfun_pyg.nn.models.bm3 import BM3
from tmfun_pyg.nn.models.bprmf import BPRMF
from tmfun_pyg.nn.models.cold_items import ColdItems
from tmfun_pyg.nn.models.content_score import ContentScore
from tmfun_pyg.nn.models.contrasts import Contrasts
from tmfun_pyg.nn.models.embedding_model import EmbeddingModel
from tmfun_pyg.nn.models.freedom import FREEDOM
from tmfun_pyg.nn.models.lattice import LATTICE
from tmfun_pyg.nn.models.lightgcn import LightGCN
from tmfun_pyg.nn.models.mgcn import MGCN
from tmfun_pyg.nn.models.micro import MICRO
from tmfun_pyg.nn.models.mmgcf import MMGCF
from tmfun_pyg.nn.models.mmgcn import MMGCN
from tmfun_pyg.nn.models.multimodal_model import MultimodalModel
from tmfun_pyg.nn.models.neighbor_score import NeighborScore
from tmfun_pyg.nn.models.ranking_model import Embeddings, RankingModel
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
    "MMGCF",
    "MMGCN",
    "TMFUN",
    "VBPR",
    "ColdItems",
    "ContentScore",
    "Contrasts",
    "EmbeddingModel",
    "Embeddings",
    "LightGCN",
    "MultimodalModel",
    "NeighborScore",
    "RankingModel",
    "SimGCL",
]

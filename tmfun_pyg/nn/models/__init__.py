from tmfun_pyg.nn.models.lightgcn import LightGCN
from tmfun_pyg.nn.models.most_popular import MostPopular
from tmfun_pyg.nn.models.recommender import Recommender
from tmfun_pyg.nn.models.tmfun import TMFUN

__all__ = ["TMFUN", "LightGCN", "MostPopular", "Recommender"]

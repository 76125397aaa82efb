"""Baselines without gradient descent."""

from tmfun_pyg.baselines.content_knn import ContentKNN
from tmfun_pyg.baselines.content_ridge import ContentRidge
from tmfun_pyg.baselines.ease import EASE
from tmfun_pyg.baselines.gf_cf import GFCF
from tmfun_pyg.baselines.ials import IALS
from tmfun_pyg.baselines.item_knn import ItemKNN
from tmfun_pyg.baselines.most_popular import MostPopular
from tmfun_pyg.baselines.rp3beta import RP3beta
from tmfun_pyg.baselines.with_content import WithContent

__all__ = [
    "EASE",
    "GFCF",
    "IALS",
    "ContentKNN",
    "ContentRidge",
    "ItemKNN",
    "MostPopular",
    "RP3beta",
    "WithContent",
]

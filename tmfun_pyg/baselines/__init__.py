"""Methods without gradient descent, to compare with."""

from tmfun_pyg.baselines.content_knn import ContentKNN
from tmfun_pyg.baselines.most_popular import MostPopular

__all__ = ["ContentKNN", "MostPopular"]

"""Recommendations from a trained model."""

from tmfun_pyg.recommender.pair_scores import PairScores
from tmfun_pyg.recommender.recommendations import (
    Recommendations,
    write_recommendations,
)
from tmfun_pyg.recommender.recommender import Recommender

__all__ = [
    "PairScores",
    "Recommendations",
    "Recommender",
    "write_recommendations",
]

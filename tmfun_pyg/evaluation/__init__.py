"""Full-ranking evaluation: every item is ranked for every user."""

from tmfun_pyg.evaluation.evaluate import (
    RankingEvaluator,
    evaluate,
    per_user_metrics,
)
from tmfun_pyg.evaluation.list_metrics import ListMetrics

__all__ = ["ListMetrics", "RankingEvaluator", "evaluate", "per_user_metrics"]

"""Full-ranking evaluation: every item is ranked for every user."""

from tmfun_pyg.evaluation.evaluate import (
    RankingEvaluator,
    evaluate,
    per_user_metrics,
)

__all__ = ["RankingEvaluator", "evaluate", "per_user_metrics"]

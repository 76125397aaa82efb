"""Why an item was recommended to a user."""

from tmfun_pyg.explain.explain import explain
from tmfun_pyg.explain.explanation import Explanation

__all__ = ["Explanation", "explain"]

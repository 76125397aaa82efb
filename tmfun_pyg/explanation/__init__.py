"""Why an item was recommended to a user."""

from tmfun_pyg.explanation._explain import explain
from tmfun_pyg.explanation.explanation import Explanation

__all__ = ["Explanation", "explain"]

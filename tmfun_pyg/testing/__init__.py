"""Tests that every model has to pass, including those of other packages; needs
pytest.
"""

import pytest

# So that a failed assertion shows its values:
pytest.register_assert_rewrite("tmfun_pyg.testing.ranking_model_tests")

from tmfun_pyg.testing.data import make_data  # noqa: E402
from tmfun_pyg.testing.ranking_model_tests import (  # noqa: E402
    RankingModelTests,
    assert_same_loss,
)

__all__ = ["RankingModelTests", "assert_same_loss", "make_data"]

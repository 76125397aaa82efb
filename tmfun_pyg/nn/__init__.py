"""Layers, models and losses; needs only torch and torch_geometric."""

from tmfun_pyg.nn import attention, conv, fusion, loss, models
from tmfun_pyg.nn.attention import *  # noqa: F403
from tmfun_pyg.nn.conv import *  # noqa: F403
from tmfun_pyg.nn.fusion import *  # noqa: F403
from tmfun_pyg.nn.loss import *  # noqa: F403
from tmfun_pyg.nn.models import *  # noqa: F403

__all__ = [
    *attention.__all__,
    *conv.__all__,
    *fusion.__all__,
    *loss.__all__,
    *models.__all__,
]

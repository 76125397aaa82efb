"""Multimodal recommendation on PyTorch Geometric.

Import from the sub-packages: :mod:`tmfun_pyg.nn` (layers and models),
:mod:`tmfun_pyg.datasets`, :mod:`tmfun_pyg.transforms`,
:mod:`tmfun_pyg.training`. This module stays empty on purpose, so that
:mod:`tmfun_pyg.nn` needs nothing but torch and torch_geometric.
"""

from tmfun_pyg._version import __version__

__all__ = ["__version__"]

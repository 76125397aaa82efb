"""Transforms of multimodal recommendation graphs."""

from tmfun_pyg.transforms.add_items import AddItems
from tmfun_pyg.transforms.feature_graph import FeatureGraph
from tmfun_pyg.transforms.hold_out_items import HoldOutItems

__all__ = ["AddItems", "FeatureGraph", "HoldOutItems"]

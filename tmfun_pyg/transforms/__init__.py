"""Transforms of multimodal recommendation graphs."""

from tmfun_pyg.transforms.add_items import AddItems
from tmfun_pyg.transforms.add_users import AddUsers
from tmfun_pyg.transforms.feature_graph import FeatureGraph
from tmfun_pyg.transforms.hold_out_items import HoldOutItems
from tmfun_pyg.transforms.merge_splits import MergeSplits
from tmfun_pyg.transforms.to_rec_graph import ToRecGraph

__all__ = [
    "AddItems",
    "AddUsers",
    "FeatureGraph",
    "HoldOutItems",
    "MergeSplits",
    "ToRecGraph",
]

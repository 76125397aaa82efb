"""Transforms of multimodal recommendation graphs."""

from tmfun_pyg.transforms.feature_graph import FeatureGraph

__all__ = ["FeatureGraph"]

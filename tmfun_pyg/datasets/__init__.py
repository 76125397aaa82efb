"""Multimodal recommendation data sets."""

from tmfun_pyg.datasets.multimodal_rec_dataset import MultimodalRecDataset
from tmfun_pyg.datasets.synthetic_multimodal import SyntheticMultimodal

__all__ = ["MultimodalRecDataset", "SyntheticMultimodal"]

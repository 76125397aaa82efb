"""Multimodal recommendation data sets."""

from tmfun_pyg.datasets.multimodal_rec_dataset import MultimodalRecDataset

__all__ = ["MultimodalRecDataset"]

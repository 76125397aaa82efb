"""Multimodal recommendation data sets."""

from tmfun_pyg.datasets.amazon_baby import AmazonBaby
from tmfun_pyg.datasets.amazon_clothing import AmazonClothing
from tmfun_pyg.datasets.amazon_electronics import AmazonElectronics
from tmfun_pyg.datasets.amazon_sports import AmazonSports
from tmfun_pyg.datasets.multimodal_rec_dataset import MultimodalRecDataset
from tmfun_pyg.datasets.prepare import prepare
from tmfun_pyg.datasets.prepare_report import PrepareReport
from tmfun_pyg.datasets.synthetic_multimodal import SyntheticMultimodal
from tmfun_pyg.datasets.tiktok import TikTok

__all__ = [
    "AmazonBaby",
    "AmazonClothing",
    "AmazonElectronics",
    "AmazonSports",
    "MultimodalRecDataset",
    "PrepareReport",
    "SyntheticMultimodal",
    "TikTok",
    "prepare",
]

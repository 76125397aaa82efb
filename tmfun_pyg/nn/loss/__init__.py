"""Losses on representations, independent of any data set or graph."""

from tmfun_pyg.nn.loss.bpr_loss import BPRLoss
from tmfun_pyg.nn.loss.info_nce import info_nce
from tmfun_pyg.nn.loss.l2_loss import L2Loss
from tmfun_pyg.nn.loss.sampled_softmax_loss import SampledSoftmaxLoss
from tmfun_pyg.nn.loss.scaled_contrast import ScaledContrast

__all__ = [
    "BPRLoss",
    "L2Loss",
    "SampledSoftmaxLoss",
    "ScaledContrast",
    "info_nce",
]

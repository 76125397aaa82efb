from tmfun_pyg.nn.fusion.content_fusion import ContentFusion
from tmfun_pyg.nn.fusion.multi_step_fusion import MultiStepFusion

__all__ = ["ContentFusion", "MultiStepFusion"]

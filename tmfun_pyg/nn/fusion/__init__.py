from tmfun_pyg.nn.fusion.multi_step_fusion import MultiStepFusion

__all__ = ["MultiStepFusion"]

from tmfun_pyg.nn.attention.modality_attention import ModalityAttention

__all__ = ["ModalityAttention"]

from tmfun_pyg.nn.conv.feature_graph_conv import FeatureGraphConv
from tmfun_pyg.nn.conv.interaction_propagation import InteractionPropagation

__all__ = ["FeatureGraphConv", "InteractionPropagation"]

from tmfun_pyg.nn.conv.feature_graph_conv import FeatureGraphConv

__all__ = ["FeatureGraphConv"]

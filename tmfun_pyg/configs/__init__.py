"""Configurations for `tmfun fit --config NAME`."""

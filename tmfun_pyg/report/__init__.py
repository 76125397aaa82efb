"""A page with figures about training runs."""

from tmfun_pyg.report.report import report

__all__ = ["report"]

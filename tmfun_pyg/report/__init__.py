from tmfun_pyg.report._report import report

__all__ = ["report"]

"""Files for a server: embeddings, ids, an index of items and a scorer."""

from tmfun_pyg.recommender.export.read import Exported, load_exported
from tmfun_pyg.recommender.export.scorer_module import ScorerModule
from tmfun_pyg.recommender.export.write import write_export

__all__ = ["Exported", "ScorerModule", "load_exported", "write_export"]

"""All models of the package that are trained."""

import inspect

import tmfun_pyg.nn
from tmfun_pyg.nn import RankingModel

MODELS = [
    member
    for name in tmfun_pyg.nn.__all__
    if inspect.isclass(member := getattr(tmfun_pyg.nn, name))
    and issubclass(member, RankingModel)
    and member.loss is not RankingModel.loss
]

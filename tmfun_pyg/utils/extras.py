from importlib import import_module
from typing import Any


def import_extra(module: str, extra: str) -> Any:
    """Imports a module of an optional dependency, or says how to install it.

    Args:
        module: The name of the module.
        extra: The extra of this package that installs it.
    """
    try:
        return import_module(module)
    except ImportError as err:
        raise ImportError(
            f"{module.partition('.')[0]} is not installed: "
            f'pip install "tmfun-pyg[{extra}]"'
        ) from err

"""Checks classes named by options before their modules are imported."""

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator, Optional


def check_class_path(path: str) -> None:
    """Checks that a module defines a class with a base class, or imports or
    assigns one, without running it.

    Args:
        path: The path, such as ``my_package.my_module.MyModel``. A path
            without a dot is a name in this package.

    Raises:
        ValueError: If it does not.
    """
    module, _, name = path.rpartition(".")
    if module == "":
        return
    source = _find_source(module)
    if source is None or source.suffix != ".py":
        if source is None:
            raise ValueError(f"'{path}' must be a class (found no '{module}')")
        return
    tree = ast.parse(source.read_bytes())
    if not any(_brings(node, name) for node in ast.walk(tree)):
        raise ValueError(
            f"'{path}' must be a class with a base class (found none in "
            f"'{source}')"
        )


def class_paths_of(config: Any) -> Iterator[str]:
    """Returns the paths of classes in a configuration."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "class_path" and isinstance(value, str):
                yield value
            yield from class_paths_of(value)
    elif isinstance(config, list):
        for value in config:
            yield from class_paths_of(value)


def _find_source(module: str) -> Optional[Path]:
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)  # For a submodule, it would import the package.
    except ValueError:
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if not rest:
        return path
    path = path.parent.joinpath(*rest)
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.exists():
            return found
    return None


def _brings(node: ast.AST, name: str) -> bool:
    """Returns whether a statement can bind a class to that name."""
    if isinstance(node, ast.ClassDef):
        return node.name == name and len(node.bases) > 0
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.asname or alias.name for alias in node.names]
        return name in names or "*" in names
    if isinstance(node, ast.Assign):
        return any(
            isinstance(x, ast.Name) and x.id == name for x in node.targets
        )
    return False

"""Files that options name, to be read and to be written."""

import os
from typing import Any, Iterator, Mapping, Tuple

from tmfun_pyg.cli.find_files import READ

WRITTEN = ("--out", "--json", "--plot")
# Beside those of READ, options with several files:
SEVERAL = ("--config", "--cold_items", "--features", "--feature_ids")


def check_written(options: Mapping[str, Any]) -> None:
    """Checks that what is written is no file that another option names.

    Args:
        options: The values of the options, by name.

    Raises:
        ValueError: If it is.
    """
    named = list(_named(options))
    for place, (option, path) in enumerate(named):
        if option not in WRITTEN or os.path.isdir(path):
            continue
        for other, name in named[:place]:
            if _is_same(path, name):
                raise ValueError(
                    f"{option} must be another file than {other} (got '{path}')"
                )


def _named(options: Mapping[str, Any]) -> Iterator[Tuple[str, str]]:
    """Yields options and the files that they name, those written last."""
    for option in (*READ, *SEVERAL, *WRITTEN):
        value = options.get(option.removeprefix("--"))
        if isinstance(value, Mapping):
            value = [*value.values()]
        for path in value if isinstance(value, list) else [value]:
            if path is not None:
                yield option, os.path.expanduser(str(path))


def _is_same(path: str, name: str) -> bool:
    if os.path.exists(path) and os.path.exists(name):
        return os.path.samefile(path, name)
    return os.path.realpath(path) == os.path.realpath(name)

"""Checks that output files do not overwrite input files."""

import os
from typing import Any, Iterable, Iterator, Mapping, Tuple

from tmfun_pyg.cli.find_files import READ
from tmfun_pyg.cli.run_folder import FILES

WRITTEN = ("--out", "--json", "--plot")
# In addition to READ, options with several files:
SEVERAL = ("--config", "--cold_items", "--features", "--feature_ids")


def check_written(options: Mapping[str, Any]) -> None:
    """Checks that no output is a file that another option names, or one of
    the run that a checkpoint belongs to.

    Args:
        options: The values of the options, by name.

    Raises:
        ValueError: If it is.
    """
    named = list(_named(options))
    if options.get("ckpt") is not None:
        path = os.path.expanduser(str(options["ckpt"]))
        runs = {os.path.dirname(x) for x in (path, os.path.realpath(path))}
        files = [os.path.join(run, name) for run in runs for name in FILES]
        check_kept(options, files, "run")
    for place, (option, path) in enumerate(named):
        if option not in WRITTEN or os.path.isdir(path):
            continue
        for other, name in named[:place]:
            if _is_same(path, name):
                raise ValueError(
                    f"{option} must be another file than {other} (got '{path}')"
                )


def check_kept(
    options: Mapping[str, Any], files: Iterable[str], what: str
) -> None:
    """Checks that no output replaces one of the given files.

    Args:
        options: The values of the options, by name.
        files: The files, which need not exist.
        what: What they belong to, for errors.

    Raises:
        ValueError: If it does.
    """
    files = [path for path in files if os.path.isfile(path)]
    for option, path in _named(options):
        if option in WRITTEN and any(_is_same(path, x) for x in files):
            raise ValueError(
                f"{option} must be another file than those of the {what} (got "
                f"'{path}')"
            )


def _named(options: Mapping[str, Any]) -> Iterator[Tuple[str, str]]:
    """Yields options and the files that they name, outputs last."""
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

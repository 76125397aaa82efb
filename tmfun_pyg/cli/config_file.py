"""Files of options."""

from pathlib import Path
from typing import Any, Dict

import yaml


def read_config(path: Path) -> Dict[str, Any]:
    """Returns the content of a file of options.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not such a file.
    """
    if path.is_dir():
        raise ValueError(f"'{path}' must be YAML with options (got a folder)")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        place = getattr(err, "problem_mark", None)
        line = "" if place is None else f", line {place.line + 1},"
        raise ValueError(f"'{path}'{line} must be YAML with options") from err
    if not isinstance(content, dict):
        raise ValueError(
            f"'{path}' must be YAML with options (got a "
            f"{type(content).__name__})"
        )
    return content

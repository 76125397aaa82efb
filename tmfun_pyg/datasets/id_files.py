"""Files of raw ids, one a line."""

from typing import List

from tmfun_pyg.datasets._files import read_text
from tmfun_pyg.utils.ids import NO_PARTS, is_no_id


def read_ids(path: str) -> List[str]:
    """Returns the lines of a file of raw ids.

    Args:
        path (str): The file.

    Raises:
        ValueError: If the file is missing, no text in UTF-8 or empty, or if
            a line is no id.
    """
    text = read_text(path)
    if text == "":
        raise ValueError(f"'{path}' must have an id a line (got an empty file)")
    lines = text.removesuffix("\n").split("\n")
    bad = is_no_id(lines)
    if bad.any():
        line = int(bad.argmax())
        got = repr(lines[line]) if lines[line] else "an empty line"
        raise ValueError(
            f"'{path}', line {line + 1} must be an id without {NO_PARTS} and "
            f"spaces around it (got {got})"
        )
    return lines

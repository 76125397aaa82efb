"""Reports unknown ids by the files that hold them."""

import re
import warnings
from contextlib import contextmanager
from typing import Any, Iterator

MESSAGE = re.compile(r"'([^']+)' (must be in|holds what is not in) (.*)", re.S)


@contextmanager
def unknown_by_file(**files: str) -> Iterator[None]:
    """Names files in errors and warnings about unknown ids, and the option
    that skips these.

    Args:
        files: The name to use instead for each Python argument.
    """

    def retold(text: str) -> str:
        match = MESSAGE.fullmatch(text)
        where = match and files.get(match[1].split()[-1])
        if match is None or where is None:
            return text
        if match[2].startswith("holds"):
            return f"{where} {match[2]} {match[3]}"
        advice = "; pass --unknown warn to go on without them"
        return f"{where} must hold items of {match[3]}{advice}"

    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, *args: Any, **kwargs: Any) -> None:
            text = retold(str(message))
            if text != str(message):
                message = type(message)(text)
            shown(message, *args, **kwargs)

        warnings.showwarning = show
        try:
            yield
        except ValueError as error:
            text = retold(str(error))
            if text == str(error):
                raise
            raise ValueError(text) from error

"""One-line errors for users."""

import sys
from pathlib import Path
from traceback import walk_tb
from typing import Callable

import tmfun_pyg

OWN = (Path(__file__).parent, Path(tmfun_pyg.__file__).parent)


def run_script(main: Callable[[], None]) -> None:
    """Runs a script, and ends it with one line if one of our checks fails.
    Errors from other code keep their traceback.
    """
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        place = Path(frame.f_code.co_filename).resolve()
        if not any(folder in place.parents for folder in OWN):
            raise
        name = Path(sys.argv[0]).name
        raise SystemExit(f"{name}: error: {error}") from error

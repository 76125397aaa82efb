"""Handles signals that end the process."""

import signal
import threading
from contextlib import contextmanager
from typing import Any, Iterator

INTERRUPT = 130  # The exit status after Ctrl-C.


@contextmanager
def ended_by_exceptions() -> Iterator[None]:
    """Turns signals that end the process into an exception, so that
    half-written files are removed. (Training has Lightning's handlers.)
    """

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    names = ("SIGTERM", "SIGHUP")  # Windows lacks the second.
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ours = []
    if threading.current_thread() is threading.main_thread():
        # Ignored signals stay ignored, as under nohup.
        ours = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)

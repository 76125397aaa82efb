"""Detection of out-of-memory errors."""

import errno
import re
from typing import Optional

# Messages of torch on CPUs and devices, of device libraries, and of pandas:
WORDS = re.compile(
    r"out of memory|can('t|not) allocate memory|not enough memory|ALLOC_FAILED"
    r"|size calculation overflowed|larger than max_size",
    re.IGNORECASE,
)


def out_of_memory(error: Optional[BaseException]) -> Optional[str]:
    r"""Returns a readable line if an error, or one that caused it, means that
    memory ran out, and :obj:`None` otherwise.

    Args:
        error (BaseException, optional): The error.
    """
    if error is None:
        return None
    text = str(error)
    # Other errors may quote user input:
    is_told = isinstance(error, RuntimeError) or "C error" in text
    is_full = (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or (is_told and WORDS.search(text) is not None)
    )
    if not is_full:
        return out_of_memory(error.__cause__)
    found = re.search(r"allocate ([\d.]+) (\w+)", text)
    if found is None:
        return "out of memory"
    size, unit = float(found[1]), found[2]
    if unit == "bytes":
        size, unit = size / 2**30, "GiB"
    return f"out of memory (tried to allocate {size:,.1f} {unit})"

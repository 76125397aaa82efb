import numpy as np


def name_items(items: np.ndarray) -> str:
    """Returns the number of items and the first five, for errors."""
    shown = ", ".join(str(item) for item in items[:5])
    more = ", ..." if len(items) > 5 else ""
    return f"{len(items)} item(s): {shown}{more}"

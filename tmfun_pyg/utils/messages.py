import numpy as np


def name_items(items: np.ndarray) -> str:
    """Names the first few of many items, for errors."""
    shown = ", ".join(str(item) for item in items[:5])
    more = ", ..." if len(items) > 5 else ""
    return f"{len(items)} item(s): {shown}{more}"

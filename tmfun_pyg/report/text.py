"""Text for numbers, metrics, and untrusted text such as raw ids."""

import math
import re
from typing import Optional

from markupsafe import Markup


def title_of(metric: str) -> str:
    r"""Returns the display name of a metric, such as :obj:`"NDCG@20"`."""
    is_short = metric.startswith(("ndcg", "map"))
    text = metric.upper() if is_short else metric.capitalize()
    return text.replace("_", " ")


def number(value: Optional[float], error: float = math.nan) -> str:
    r"""Returns a value as text, with its error unless that is NaN."""
    is_known = value is not None and not math.isnan(value)
    text = f"{value:.4f}" if is_known else "\N{EN DASH}"
    return text if math.isnan(error) else f"{text} ± {error:.4f}"


def printable(text: object) -> str:
    r"""Returns the text with a mark instead of control characters."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


def picture_link(url: str) -> str:
    r"""Returns a link to a picture, or plain text if the URL is not http or
    https. The page itself loads nothing.
    """
    url = printable(url)
    if re.fullmatch(r"(?i)https?://\S+", url) is None:
        return url
    return Markup('<a href="%s" rel="noreferrer">picture</a>') % url


def shorten(text: str, size: int = 24) -> str:
    r"""Returns printable text of at most :obj:`size` characters."""
    text = printable(text)
    return text if len(text) <= size else text[: size - 1] + "…"

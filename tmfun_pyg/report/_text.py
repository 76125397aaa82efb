"""Text of unknown origin, such as ids, on its way to the page."""

import html


def clean(text: object) -> str:
    r"""Returns the text with a mark in place of what cannot be printed, such
    as control characters.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


def escape(text: object) -> str:
    r"""Returns the text as it can be put anywhere in a page."""
    return html.escape(clean(text))


def shorten(text: str, size: int) -> str:
    r"""Cuts a text down to at most :obj:`size` characters."""
    return text if len(text) <= size else text[: size - 1] + "…"

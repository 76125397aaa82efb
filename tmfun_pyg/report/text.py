"""Text of unknown origin, such as raw ids."""


def printable(text: object) -> str:
    r"""Returns the text with a mark in place of control characters."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


def shorten(text: str, size: int = 24) -> str:
    r"""Returns printable text of at most :obj:`size` characters."""
    text = printable(text)
    return text if len(text) <= size else text[: size - 1] + "…"

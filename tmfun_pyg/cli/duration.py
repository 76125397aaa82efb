def in_words(seconds: float) -> str:
    """Returns a duration as text, in a readable unit.

    Args:
        seconds: The duration.
    """
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            value = seconds / size
            return f"{value:.{int(value < 20)}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"

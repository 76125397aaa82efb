from typing import Any, Dict, Iterable, List, Mapping

import numpy as np

# Integers without leading zeros, of up to 18 digits, which fit into int64.
INTEGER = r"0|-?[1-9][0-9]{0,17}"


def index_by_text(ids: np.ndarray) -> Dict[str, int]:
    """Returns the index of each raw id by its text.

    Args:
        ids (np.ndarray): The raw ids (int64 or str) by index, each once.
    """
    return {str(raw): index for index, raw in enumerate(ids.tolist())}


def check_list(name: str, ids: Any) -> None:
    """Raises a :class:`ValueError` for what is no list of ids, such as a
    single one, or a matrix.
    """
    if isinstance(ids, (str, bytes, Mapping)) or not hasattr(ids, "__iter__"):
        raise ValueError(f"'{name}' must be a list of ids (got {ids!r})")
    shape = [*getattr(ids, "shape", (0,))]
    if len(shape) != 1:
        raise ValueError(
            f"'{name}' must be a list of ids (got a {type(ids).__name__} of "
            f"shape {shape})"
        )


def ids_as_text(name: str, ids: Iterable[Any]) -> List[str]:
    r"""Returns raw ids as text.

    Args:
        name (str): What an error calls them.
        ids (Iterable[int or str]): The ids.

    Raises:
        ValueError: If :obj:`ids` is a single id, or holds anything but
            integers and strings.
    """
    check_list(name, ids)
    values = [i.item() if hasattr(i, "item") else i for i in ids]
    for value in values:
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            raise ValueError(
                f"'{name}' must hold integers or strings (got {value!r})"
            )
    return [str(value) for value in values]

import re
from typing import Any, Literal, Tuple, get_args

import numpy as np
import pandas as pd
from torch import Tensor

from tmfun_pyg.datasets._order import index_type
from tmfun_pyg.datasets.features import to_numpy
from tmfun_pyg.utils.ids import NO_PARTS, ids_from_text, is_integer, is_no_id
from tmfun_pyg.utils.messages import name_items

IdType = Literal["auto", "int", "str"]
# The names that `pandas.api.types.infer_dtype` gives to types of ids that are
# not exact, or whose equal ids may look different.
REFUSED = re.compile("boolean|bytes|complex|decimal|floating|mixed-integer.*")
# Integers from a column of floats.
WHOLE = r"-?[0-9]+\.0+"
AS_INTEGERS = "; id_type='int' reads whole numbers as integers"
AS_TEXT = "; id_type='str' reads all of them as text"


def check_id_type(id_type: str) -> None:
    """Raises a :class:`ValueError` for an unknown type of ids."""
    if id_type not in get_args(IdType):
        raise ValueError(
            f"'id_type' must be 'auto', 'int' or 'str' (got {id_type!r})"
        )


def number_ids(
    ids: Any, source: str, id_type: IdType = "auto"
) -> Tuple[np.ndarray, np.ndarray]:
    """Numbers ids in sorted order.

    Args:
        ids: A sequence of ids.
        source (str): The name of the sequence in errors.
        id_type (str, optional): If set to :obj:`"auto"`, ids keep their type.
            If set to :obj:`"int"`, all must be integers if any is, including
            integers in text and :obj:`5863.0`. If set to :obj:`"str"`, they
            become text. (default: :obj:`"auto"`)

    Returns:
        The number of each id, and the distinct ids in sorted order: int64
        if they are integers, else str.

    Raises:
        ValueError: If ids are missing, or their type is not exact.
    """
    values = to_numpy(ids) if isinstance(ids, Tensor) else ids
    # Text stays as it is: pandas' own type does not hold all of it.
    is_typed = getattr(values, "dtype", np.dtype("U")).kind != "U"
    try:
        column = pd.Series(values, dtype=None if is_typed else object)
    except (TypeError, ValueError) as err:
        raise ValueError(
            f"{source} must be a list of ids (got a {type(ids).__name__})"
        ) from err
    try:
        number, distinct = pd.factorize(column)
        kind = pd.api.types.infer_dtype(distinct)
        if kind == "mixed" and distinct.map(pd.api.types.is_list_like).any():
            raise TypeError("an id is a tuple")
        if kind == "mixed" and distinct.map(pd.api.types.is_number).any():
            kind = "mixed-integer"  # Or true or 1.5, among text.
    except TypeError as err:  # Lists, for example.
        types = pd.api.types
        bad = column.map(types.is_list_like) | ~column.map(types.is_hashable)
        row = int(bad.argmax())
        raise ValueError(
            f"{source} must have integers or text as ids (got "
            f"{column.iloc[row]} in row {row}, counted from 0)"
        ) from err
    check_complete(number < 0, "an id", source)
    if isinstance(distinct.dtype, pd.CategoricalDtype):
        distinct = distinct.astype(distinct.categories.dtype)
        kind = pd.api.types.infer_dtype(distinct)
    if kind == "integer" and id_type != "str" and distinct.max() < 2**63:
        names = distinct.to_numpy().astype(np.int64)
    else:
        text = pd.Series([str(value) for value in distinct], dtype=object)
        exact = _exact_below(distinct.dtype)
        names = _read_text(text, number, kind, exact, source, id_type)
    names, place = np.unique(names, return_inverse=True)
    if len(names) < len(distinct) and id_type == "auto":
        raise ValueError(
            f"{source} must have ids that differ as text (got "
            f"{len(distinct)} ids, but {len(names)} texts){AS_TEXT}"
        )
    return place.astype(index_type(len(place)))[number], names


def distinct_ids(ids: Any, source: str, id_type: IdType) -> np.ndarray:
    """Returns ids in their order, see :func:`number_ids`.

    Raises:
        ValueError: Also if an id is repeated.
    """
    number, distinct = number_ids(ids, source, id_type)
    count = np.bincount(number)
    if (count > 1).any():
        raise ValueError(
            f"{source} must have each id once (got repeated "
            f"{name_items(distinct[count > 1])})"
        )
    return distinct[number]


def _exact_below(dtype: Any) -> int:
    """Returns the integer from which on floats of a type are not unique, for
    float64 if the ids are not numbers.
    """
    dtype = getattr(dtype, "numpy_dtype", dtype)
    digits = np.finfo(dtype if dtype.kind == "f" else np.float64).nmant + 1
    return 2**digits


def _read_text(
    text: pd.Series,
    number: np.ndarray,
    kind: str,
    exact: int,
    source: str,
    id_type: IdType,
) -> np.ndarray:
    """Checks and converts ids.

    Args:
        text (pandas.Series): The text of each distinct id.
        number (np.ndarray): The position in ``text`` of the id of each row.
        kind (str): The name that pandas gives to the type of the ids.
        exact (int): The bound below which ids from floats are exact.
        source (str): The name of the column in errors.
        id_type (str): See :func:`number_ids`.
    """

    def check(is_bad: np.ndarray, expected: str, advice: str = "") -> None:
        if is_bad.any():
            row = int(is_bad[number].argmax())
            raise ValueError(
                f"{source} must have {expected} (got {text[number[row]]!r} in "
                f"row {row}, counted from 0){advice}"
            )

    check_complete((text == "").to_numpy()[number], "an id", source)
    check(is_no_id(text), f"ids without {NO_PARTS} and spaces around them")
    is_whole = text.str.fullmatch(WHOLE).to_numpy(dtype=bool)
    whole = text.mask(
        is_whole, text[is_whole].str.replace(r"\..*", "", regex=True)
    )
    if id_type == "int":
        size = whole.where(is_whole, "0").astype(np.float64).abs()
        check(
            (size >= exact).to_numpy(),
            f"ids below {exact} where they are floats, which do not tell "
            f"larger integers apart",
        )
        ids = ids_from_text(whole)
        if ids.dtype.kind == "i":
            return ids
        others = ~is_integer(whole)
        if not others.all():
            check(others, "64-bit integers alone as ids for id_type='int'")
    elif (
        is_whole.any()
        and (id_type == "auto" or kind == "floating")
        and ids_from_text(whole).dtype.kind == "i"
    ):
        check(is_whole, "integers or text as ids", AS_INTEGERS)
    is_mixed = kind.startswith("mixed-integer")
    if REFUSED.fullmatch(kind) and not (is_mixed and id_type == "str"):
        other, advice = ("both", AS_TEXT) if is_mixed else (kind, "")
        everywhere = np.ones(len(text), dtype=bool)
        check(everywhere, f"integers or text as ids, not {other}", advice)
    return text.to_numpy().astype(np.str_)


def check_complete(missing: np.ndarray, value: str, source: str) -> None:
    """Raises a :class:`ValueError` if a row has no value."""
    if missing.any():
        raise ValueError(
            f"{source} must have {value} in every row (row "
            f"{missing.argmax()}, counted from 0, has none)"
        )

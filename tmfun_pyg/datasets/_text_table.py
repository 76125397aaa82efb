"""Reads texts of items from columns of a table."""

from typing import List, Sequence, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._ids import IdType, distinct_ids
from tmfun_pyg.datasets.item_table import read_item_rows


def read_text_table(
    path: str, item_col: str, text_cols: Sequence[str], id_type: IdType
) -> Tuple[np.ndarray, List[str]]:
    """Returns the ids of the items that have a text, and the texts: the
    concatenated columns.

    Args:
        path (str): A ``.csv``, ``.tsv`` or ``.parquet`` file.
        item_col (str): The column of item ids.
        text_cols (List[str]): The text columns.
        id_type (str): See :func:`distinct_ids`.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has the wrong format.
    """
    frame = read_item_rows(path)
    if not {item_col, *text_cols} <= set(frame) or len(frame) == 0:
        raise ValueError(
            f"'{path}' must have rows, the column item_col='{item_col}' and "
            f"{', '.join(text_cols)} (got {len(frame)} rows and the columns "
            f"{', '.join(map(str, frame.columns))})"
        )
    source = f"'{path}', column '{item_col}'"
    ids = distinct_ids(frame[item_col], source, id_type)
    for column in text_cols:
        values = frame[column]
        is_text = values.map(lambda value: isinstance(value, str))
        bad = ~(is_text.astype(bool) | values.isna())
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"'{path}', column '{column}' must have text (got "
                f"{values.iloc[row]!r:.80} for item {ids[row]})"
            )
    texts = join_texts([frame[column].fillna("") for column in text_cols])
    has_text = (texts != "").to_numpy()
    if not has_text.any():
        raise ValueError(
            f"'{path}' must have texts in the columns {', '.join(text_cols)} "
            f"(got none)"
        )
    return ids[has_text], texts[has_text].tolist()


def join_texts(columns: Sequence[pd.Series]) -> pd.Series:
    """Joins several columns to one single-line text per row."""
    text = columns[0].astype(object)
    if len(columns) > 1:
        text = text.str.cat(columns[1:], sep=" ")
    return text.str.split().str.join(" ")

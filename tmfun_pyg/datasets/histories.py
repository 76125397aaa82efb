"""Reads the histories of users from files in the format of a log."""

from typing import Any, Dict, List, Optional, Sequence

import pandas as pd

from tmfun_pyg.datasets._ids import number_ids
from tmfun_pyg.datasets._log_files import LogFile, TextFormat

COLUMNS = ("user_id", "item_id")


def read_histories(
    path: str,
    sep: Optional[str] = None,
    columns: Optional[Sequence[str]] = None,
    encoding: Optional[str] = None,
) -> Dict[Any, List[Any]]:
    """Returns the items of each user of a log, as raw ids, in log order.

    Args:
        path (str): A :obj:`.csv`, :obj:`.tsv`, :obj:`.inter` or
            :obj:`.parquet` file with the columns :obj:`user_id` and
            :obj:`item_id`.
        sep (str, optional): As in :func:`~tmfun_pyg.datasets.prepare`.
            (default: by the suffix)
        columns (List[str], optional): As there. (default: the header)
        encoding (str, optional): As there. (default: UTF-8)

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has the wrong format, a column is
            missing, there is no row, or a row has no id.
    """
    file = LogFile(path, *COLUMNS, TextFormat(sep, columns, encoding))
    if not set(COLUMNS) <= set(file.names):
        raise ValueError(
            f"'{path}' must have the columns {[*COLUMNS]} (got {file.names})"
        )
    frame = file.read(COLUMNS)
    if frame.empty:
        raise ValueError(f"'{path}' must have rows (got none)")
    try:
        (user, user_ids), (item, item_ids) = (
            number_ids(frame[name], f"'{path}', column '{name}'")
            for name in COLUMNS
        )
    except ValueError as err:  # The data set decides the type of ids.
        raise ValueError(str(err).partition("; id_type")[0]) from err
    items = pd.Series(item_ids[item]).groupby(user, sort=False).agg(list)
    return dict(zip(user_ids[items.index].tolist(), items, strict=True))

"""Files of the items of users, in the format of a log."""

from typing import Any, Dict, List

import pandas as pd

from tmfun_pyg.datasets._ids import number_ids
from tmfun_pyg.datasets._log_files import TextFormat, read_log_file

COLUMNS = ["user_id", "item_id"]


def read_histories(path: str) -> Dict[Any, List[Any]]:
    """Returns the items of each user of a log, by raw ids, in its order.

    Args:
        path (str): A :obj:`.csv`, :obj:`.tsv`, :obj:`.inter` or
            :obj:`.parquet` file with the columns :obj:`user_id` and
            :obj:`item_id`.

    Raises:
        ImportError: If pyarrow is needed, but not installed.
        ValueError: If the file is missing or has another format, a column is
            missing, or a row has no id.
    """
    user_col, item_col = COLUMNS
    frame = read_log_file(path, user_col, item_col, TextFormat())
    if not set(COLUMNS) <= set(frame):
        raise ValueError(
            f"'{path}' must have the columns {COLUMNS} (got {list(frame)})"
        )
    (user, user_ids), (item, item_ids) = (
        number_ids(frame[name], f"'{path}', column '{name}'")
        for name in COLUMNS
    )
    items = pd.Series(item_ids[item]).groupby(user, sort=False).agg(list)
    return dict(zip(user_ids[items.index].tolist(), items, strict=True))

import os
import os.path as osp
from types import ModuleType
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np
from torch import Tensor

from tmfun_pyg.utils.ids import INTEGER

# What `pandas.api.types.infer_dtype` calls ids that are refused: numbers that
# are not exact, and types of which equal ids may look different.
REFUSED = {
    "boolean",
    "bytes",
    "complex",
    "decimal",
    "floating",
    "mixed-integer",
    "mixed-integer-float",
}

# The column of a split that is given.
LABEL = "x_label"
# What MMRec's own files call the columns that RecBole's call by the latter.
ALIASES = {"userID": "user_id", "itemID": "item_id"}
SEPARATORS = {".csv": ",", ".inter": "\t"}


class Log(NamedTuple):
    """Interactions as they were logged, each pair of user and item once.

    Args:
        source (str): What an error calls the log.
        user_ids (np.ndarray): Raw user ids, sorted.
        item_ids (np.ndarray): Raw item ids, sorted.
        user (np.ndarray): The user of each interaction, as an index.
        item (np.ndarray): The item of each interaction, as an index.
        time (np.ndarray, optional): The place of each interaction's time
            among all times.
        label (np.ndarray, optional): The split of each interaction, as it
            was given: 0, 1 or 2.
        num_duplicates (int): The number of repetitions that were dropped.
    """

    source: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time: Optional[np.ndarray]
    label: Optional[np.ndarray]
    num_duplicates: int


def read_log(
    interactions: Any,
    user_col: str,
    item_col: str,
    time_col: Optional[str],
    label_col: Optional[str] = None,
) -> Log:
    """Reads a log from a DataFrame or a file, unless it is a :class:`Log`.

    Raises:
        ImportError: If pandas (or pyarrow, for Parquet) is not installed.
        ValueError: If the log is not what is expected.
    """
    if isinstance(interactions, Log):
        return interactions
    source, frame = read_frame(interactions, user_col, item_col)
    return number_log(source, frame, user_col, item_col, time_col, label_col)


def read_frame(
    interactions: Any, user_col: str, item_col: str
) -> Tuple[str, Any]:
    """Returns what an error calls the log, and its DataFrame.

    Raises:
        ImportError: If pandas (or pyarrow, for Parquet) is not installed.
        ValueError: If the log is not what is expected.
    """
    pd = import_pandas()
    if isinstance(interactions, pd.DataFrame):
        source, frame = "interactions", interactions
    elif isinstance(interactions, (str, os.PathLike)):
        path = os.fspath(interactions)
        source, frame = f"'{path}'", _read_file(path, user_col, item_col)
    else:
        raise ValueError(
            f"interactions: found a {type(interactions).__name__}, expected "
            f"a pandas.DataFrame or the path of a .csv, .parquet or .inter "
            f"file"
        )
    return source, frame


def number_log(
    source: str,
    frame: Any,
    user_col: str,
    item_col: str,
    time_col: Optional[str],
    label_col: Optional[str] = None,
) -> Log:
    """Numbers the users and items of a DataFrame, and drops repetitions.

    Raises:
        ValueError: If the log is not what is expected.
    """
    optional = [column for column in (time_col, label_col) if column]
    columns = [user_col, item_col, *optional]
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"{source}: no column {missing}: found {list(frame.columns)}"
        )
    if len(frame) == 0:
        raise ValueError(f"{source}: found no rows, expected interactions")

    user, user_ids = factorize(frame[user_col], f"{source}, '{user_col}'")
    item, item_ids = factorize(frame[item_col], f"{source}, '{item_col}'")
    time = label = None
    order = np.arange(len(frame))
    if time_col is not None:
        time = _rank_times(frame[time_col], f"{source}, '{time_col}'")
        order = time.argsort(kind="stable")
    if label_col is not None:
        label = _read_labels(frame[label_col], f"{source}, '{label_col}'")
        order = order[label[order].argsort(kind="stable")]
    # The earliest of equal pairs is kept.
    _, first = np.unique(
        (user * len(item_ids) + item)[order], return_index=True
    )
    kept = np.sort(order[first])
    return Log(
        source,
        user_ids,
        item_ids,
        user[kept],
        item[kept],
        None if time is None else time[kept],
        None if label is None else label[kept],
        len(frame) - len(kept),
    )


def keep_core(log: Log, k: int) -> Log:
    """Drops users and items with fewer than ``k`` interactions, until all
    that are left have ``k`` among each other.

    Raises:
        ValueError: If none are left.
    """
    kept = np.arange(len(log.user))
    while True:
        enough = np.ones(len(kept), dtype=bool)
        for column in (log.user[kept], log.item[kept]):
            enough &= np.bincount(column)[column] >= k
        if enough.all():
            break
        kept = kept[enough]
        if len(kept) == 0:
            raise ValueError(
                f"k_core: found no interaction of {log.source} that is left "
                f"by k_core={k}, expected a smaller number"
            )
    user_left, user = np.unique(log.user[kept], return_inverse=True)
    item_left, item = np.unique(log.item[kept], return_inverse=True)
    return log._replace(
        user_ids=log.user_ids[user_left],
        item_ids=log.item_ids[item_left],
        user=user,
        item=item,
        time=None if log.time is None else log.time[kept],
        label=None if log.label is None else log.label[kept],
    )


def factorize(ids: Any, source: str) -> Tuple[np.ndarray, np.ndarray]:
    """Numbers ids by their order.

    Args:
        ids: A sequence of ids.
        source (str): What an error calls it.

    Returns:
        The number of each id, and the distinct ids, sorted: int64 if they
        are integers, otherwise str.

    Raises:
        ValueError: If ids are missing, or of a type that is not exact.
    """
    pd = import_pandas()
    if isinstance(ids, Tensor):
        ids = ids.cpu().numpy()
    code, distinct = pd.factorize(pd.Series(ids))
    if (code < 0).any():
        rows = np.flatnonzero(code < 0)
        raise ValueError(
            f"{source}: found {len(rows)} missing id(s), the first in row "
            f"{rows[0]} (the first row is 0), expected an id in every row"
        )
    if isinstance(distinct.dtype, pd.CategoricalDtype):
        distinct = distinct.astype(distinct.categories.dtype)
    kind = pd.api.types.infer_dtype(distinct)
    if kind in REFUSED:
        raise ValueError(
            f"{source}: found ids of type '{kind}', such as "
            f"{distinct[0]!r}, expected integers or strings; convert them "
            f"first, for example by .astype(str)"
        )
    if kind == "integer":
        if distinct.max() > np.iinfo(np.int64).max:
            raise ValueError(
                f"{source}: found the id {distinct.max()}, expected integers "
                f"of 64 bits; convert them first, for example by .astype(str)"
            )
        names = distinct.to_numpy().astype(np.int64)
    else:
        names = distinct.map(str).to_numpy().astype(np.str_)
    names, place = np.unique(names, return_inverse=True)
    if len(names) < len(distinct):
        raise ValueError(
            f"{source}: found {len(distinct)} ids that make {len(names)} "
            f"strings, expected different strings for different ids"
        )
    return place[code], names


def import_pandas() -> ModuleType:
    """Imports pandas, which is an optional dependency."""
    try:
        import pandas
    except ImportError as err:
        raise ImportError(
            'reading interactions needs pandas: pip install "tmfun-pyg[data]"'
        ) from err
    return pandas


def _read_file(path: str, user_col: str, item_col: str) -> Any:
    pd = import_pandas()
    if not osp.isfile(path):
        raise ValueError(f"'{path}' does not exist")
    suffix = osp.splitext(path)[1].lower()
    if suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except ImportError as err:
            raise ImportError(
                'reading Parquet needs pyarrow: pip install "tmfun-pyg[data]"'
            ) from err
        except ValueError as err:
            raise ValueError(f"'{path}': no Parquet file: {err}") from err
    if suffix not in SEPARATORS:
        raise ValueError(
            f"'{path}': found the file type '{suffix}', expected .csv, "
            f".parquet or .inter"
        )
    ids = (user_col, item_col)
    try:
        header = list(pd.read_csv(path, sep=SEPARATORS[suffix], nrows=0))
        names = header
        if suffix == ".inter":
            names = _plain_names(header, ids)
        # As strings first: "007" and "NA" are ids like any other.
        frame = pd.read_csv(
            path,
            sep=SEPARATORS[suffix],
            dtype={
                column: str
                for column, name in zip(header, names, strict=True)
                if name in ids
            },
            keep_default_na=False,
            na_values=[""],
        )
    except ValueError as err:
        raise ValueError(f"'{path}': {err}") from err
    if not isinstance(frame.index, pd.RangeIndex):
        # What pandas does with the first columns then.
        raise ValueError(
            f"'{path}': found rows with more fields than the header, which "
            f"has {len(frame.columns)}"
        )
    frame.columns = names
    for column in set(ids).intersection(frame.columns):
        if frame[column].str.fullmatch(INTEGER, na=False).all():
            frame[column] = frame[column].astype(np.int64)
    return frame


def _plain_names(header: List[str], ids: Tuple[str, str]) -> List[str]:
    """Names columns without their types, as in ``user_id:token``."""
    names = [column.partition(":")[0] for column in header]
    names = [
        name if name in ids else ALIASES.get(name, name) for name in names
    ]
    if len(set(names)) < len(names):
        raise ValueError(
            f"found the columns {header}, expected different names ahead of "
            f"the types"
        )
    return names


def _read_labels(labels: Any, source: str) -> np.ndarray:
    pd = import_pandas()
    label = pd.to_numeric(labels, errors="coerce")
    bad = ~label.isin([0, 1, 2]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{source}: found {labels.iloc[row]!r} in row {row} (the first "
            f"row is 0), expected 0 (training), 1 (validation) or 2 (test)"
        )
    return label.to_numpy().astype(np.int64)


def _rank_times(times: Any, source: str) -> np.ndarray:
    pd = import_pandas()
    missing = times.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"{source}: found {missing.sum()} missing time(s), the first in "
            f"row {missing.argmax()} (the first row is 0), expected a time "
            f"in every row"
        )
    if not pd.api.types.is_numeric_dtype(times):
        try:
            times = pd.to_datetime(times, format="ISO8601", utc=True)
        except (ValueError, TypeError) as err:
            raise ValueError(
                f"{source}: expected numbers or dates in ISO 8601: {err}"
            ) from err
    return pd.factorize(times, sort=True)[0]

"""Reads the times of a log."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._ids import check_complete
from tmfun_pyg.datasets._order import index_type, stable_order

# The units that numbers may count since 1970, per second. Plausible times are
# from FIRST to LAST in seconds, 1985 to 2128.
UNITS = {
    "seconds": 1,
    "milliseconds": 10**3,
    "microseconds": 10**6,
    "nanoseconds": 10**9,
}
OTHER = "no known unit"
FIRST, LAST = 5 * 10**8, 5 * 10**9
SECONDS_OF_A_DAY = 86_400
BLOCK = 2**20  # Times that are read at once.
# A larger share of users with all interactions on one date is suspicious.
LARGE_SHARE = 0.5


class Times(NamedTuple):
    """Times, one per row.

    Args:
        rank (np.ndarray): Their ranks.
        day (np.ndarray): Their dates as numbers, or the ranks if some times
            are numbers in no known unit.
        units (Dict[str, int]): The number of times that look like seconds,
            milliseconds and so on, and in no known unit if some are in one.
        seconds (np.ndarray, optional): Whole seconds since 1970, if times
            are dates or numbers in one known unit.
    """

    rank: np.ndarray
    day: np.ndarray
    units: Dict[str, int]
    seconds: Optional[np.ndarray] = None


def read_times(times: pd.Series, source: str) -> Times:
    """Reads a column of times.

    Raises:
        ValueError: If a time is missing, or neither a finite number nor an
            ISO 8601 date.
    """
    check_complete(times.isna().to_numpy(), "a time", source)
    parsed, is_date = _parse(times, source)
    if is_date:
        dates = parsed.dt.normalize()
        days = pd.factorize(dates)[0].astype(index_type(len(dates)))
        naive = _without_zone(parsed)
        whole = naive.astype("datetime64[s]").astype(np.int64)
        return Times(_rank(naive.view(np.int64)), days, {}, whole)
    value, units = parsed.to_numpy(), {}
    rank = _rank(value)
    day = np.full(len(rank), -1, dtype=np.int32)
    for unit, scale in UNITS.items():
        chosen = (value >= FIRST * scale) & (value < LAST * scale)
        if chosen.any():
            units[unit] = int(chosen.sum())
            day[chosen] = value[chosen] // (SECONDS_OF_A_DAY * scale)
    if units and (day < 0).any():
        units[OTHER] = int((day < 0).sum())
    if (day < 0).any():
        return Times(rank, rank, units)
    seconds = None
    if len(units) == 1:
        (unit,) = units
        seconds = (value // UNITS[unit]).astype(np.int64, copy=False)
    return Times(rank, day, units, seconds)


def _rank(value: np.ndarray) -> np.ndarray:
    """Returns the rank of each value among the distinct ones."""
    order = stable_order(value)
    in_order = value[order]
    is_new = in_order[1:] != in_order[:-1]
    rank = np.zeros(len(value), dtype=index_type(len(value)))
    rank[order[1:]] = np.cumsum(is_new, dtype=rank.dtype)
    return rank


def _without_zone(dates: pd.Series) -> np.ndarray:
    """Returns dates in UTC, which is assumed if there is no time zone."""
    naive = dates.dt.tz_convert(None) if dates.dt.tz is not None else dates
    return naive.to_numpy()


def _parse(times: pd.Series, source: str) -> Tuple[pd.Series, bool]:
    """Returns times as numbers or dates, and whether they are dates."""
    if pd.api.types.is_datetime64_any_dtype(times):
        return times, True
    # Parsing text takes much memory.
    parts: List[pd.Series] = []
    first: Dict[bool, int] = {}
    for start in range(0, len(times), BLOCK):
        block = times.iloc[start : start + BLOCK]
        part, is_date = _parse_block(block, source, start)
        parts.append(part)
        for kind in (False, True):
            if (is_date == kind).any():
                row = int((is_date == kind).argmax())
                first.setdefault(kind, start + row)
        if len(first) > 1:
            rows = sorted(first.values())
            got = [f"'{times.iloc[row]}' in row {row}" for row in rows]
            raise ValueError(
                f"{source} must be all numbers or all dates (got "
                f"{' and '.join(got)}, counted from 0)"
            )
    return pd.concat(parts, ignore_index=True), True in first


def _parse_block(
    times: pd.Series, source: str, start: int
) -> Tuple[pd.Series, np.ndarray]:
    """Returns the times from a row on as numbers if all are, else as dates,
    and a mask of the dates.
    """
    number = pd.to_numeric(times, errors="coerce")
    is_number = np.zeros(len(times), dtype=bool)
    if number.dtype.kind in "iuf":
        is_number = np.isfinite(number.to_numpy(np.float64))
        # pandas takes true and false, as in JSON, for one and zero:
        row = number.isin([0, 1]).to_numpy().nonzero()[0]
        word = times.iloc[row].astype(str)
        is_number[row[word.isin(["True", "False"])]] = False
    if is_number.all():
        return number, ~is_number
    # Numbers and infinities are not dates, even if pandas reads them as such.
    text = times.where(~is_number & number.isna().to_numpy()).astype(object)
    date = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    is_date = date.notna().to_numpy()
    bad = ~is_number & ~is_date
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{source} must be finite numbers or dates in ISO 8601 (got "
            f"'{times.iloc[row]}' in row {start + row}, counted from 0)"
        )
    return date, is_date


def suspect_times(
    units: Dict[str, int], user: pd.Series, day: pd.Series, split: str
) -> List[str]:
    """Reports times that are in several units, or too coarse to find the
    last interaction of a user.

    Args:
        units (Dict[str, int]): The number of times that look like each unit.
        user (pandas.Series): The user of each interaction.
        day (pandas.Series): Its date.
        split (str): How interactions are split.
    """
    out: List[str] = []
    if len(units) > 1:
        found = ", ".join(f"{n:,} in {unit}" for unit, n in units.items())
        out.append(
            f"times seem to be in several units ({found}), and are ordered as "
            f"if they were in one"
        )
    if split == "leave_last_out":
        days = day.groupby(user).agg(["size", "min", "max"])
        days = days[days["size"] > 1]
        num_alike = int((days["min"] == days["max"]).sum())
        if num_alike > LARGE_SHARE * len(days):
            out.append(
                f"{num_alike:,} of the log's {len(days):,} users with several "
                f"interactions have all of them on one date: which is the "
                f"last, for leave_last_out, depends on the time of day"
            )
    return out

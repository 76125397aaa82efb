"""The times of a log."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd

from tmfun_pyg.datasets._ids import check_complete

# What numbers may count from 1970 on, per second, and the seconds that these
# are then in: from 1985 to 2128.
UNITS = {
    "seconds": 1,
    "milliseconds": 10**3,
    "microseconds": 10**6,
    "nanoseconds": 10**9,
}
OTHER = "no known unit"
FIRST, LAST = 5 * 10**8, 5 * 10**9
SECONDS_OF_A_DAY = 86_400
# Suspicious is a larger share of users with all interactions on one date.
LARGE_SHARE = 0.5


class Times(NamedTuple):
    """Times, one a row.

    Args:
        rank (np.ndarray): Their ranks.
        day (np.ndarray): Their dates as numbers, or the ranks where times are
            numbers that count something else.
        units (Dict[str, int]): How many look like numbers of seconds,
            milliseconds and so on, and of none if some look like one.
        seconds (np.ndarray, optional): Whole seconds from 1970 on, if times
            are dates or numbers in one known unit.
    """

    rank: np.ndarray
    day: np.ndarray
    units: Dict[str, int]
    seconds: Optional[np.ndarray] = None


def read_times(times: pd.Series, source: str) -> Times:
    """Reads a column of times.

    Raises:
        ValueError: If a time is missing, or neither a finite number nor a
            date in ISO 8601.
    """
    check_complete(times.isna().to_numpy(), "a time", source)
    parsed, is_date = _parse(times, source)
    rank = pd.factorize(parsed, sort=True)[0]
    if is_date:
        day = pd.factorize(parsed.dt.normalize())[0]
        return Times(rank, day, {}, _seconds_of(parsed))
    value, day, units = parsed.to_numpy(), np.full(len(rank), -1), {}
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
        seconds = (value // UNITS[unit]).astype(np.int64)
    return Times(rank, day, units, seconds)


def _seconds_of(dates: pd.Series) -> np.ndarray:
    """Returns the whole seconds from 1970 on; dates without a time zone are
    taken for UTC.
    """
    naive = dates.dt.tz_convert(None) if dates.dt.tz is not None else dates
    return naive.to_numpy().astype("datetime64[s]").astype(np.int64)


def _parse(times: pd.Series, source: str) -> Tuple[pd.Series, bool]:
    """Returns times as numbers or dates, and whether they are dates."""
    if pd.api.types.is_datetime64_any_dtype(times):
        return times, True
    number = pd.to_numeric(times, errors="coerce")
    is_number = np.zeros(len(times), dtype=bool)
    if number.dtype.kind in "iuf":
        is_number = np.isfinite(number.to_numpy(np.float64))
    if is_number.all():
        return number, False
    # Numbers and infinities are no dates, whatever pandas makes of them.
    text = times.where(~is_number & number.isna().to_numpy()).astype(object)
    date = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    is_date = date.notna().to_numpy()
    bad = ~is_number & ~is_date
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{source} must be finite numbers or dates in ISO 8601 (got "
            f"'{times.iloc[row]}' in row {row}, counted from 0)"
        )
    if not is_date.all():
        rows = sorted([int(is_number.argmax()), int(is_date.argmax())])
        got = [f"'{times.iloc[row]}' in row {row}" for row in rows]
        raise ValueError(
            f"{source} must be all numbers or all dates (got "
            f"{' and '.join(got)}, counted from 0)"
        )
    return date, True


def suspect_times(
    units: Dict[str, int], user: pd.Series, day: pd.Series, split: str
) -> List[str]:
    """Reports times that are in several units, or hardly tell which
    interaction of a user is the last.

    Args:
        units (Dict[str, int]): How many times look like each unit.
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
        days = day.groupby(user).agg(["size", "nunique"])
        days = days[days["size"] > 1]
        num_alike = int((days["nunique"] == 1).sum())
        if num_alike > LARGE_SHARE * len(days):
            out.append(
                f"{num_alike:,} of the {len(days):,} users with several "
                f"interactions have all of them on one date: which is the "
                f"last, for leave_last_out, hangs on the time of day"
            )
    return out

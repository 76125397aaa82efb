import numpy as np
import pandas as pd
import pytest

from tmfun_pyg.datasets._times import read_times, suspect_times

DAY = 86_400


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_dates_of_numbers(scale: int) -> None:
    seconds = np.array([20_000, 20_000.5, 19_999]) * DAY
    times = pd.Series((seconds * scale).astype(np.int64))
    found = read_times(times, "t")
    assert found.rank.tolist() == [1, 2, 0]
    assert found.day.tolist() == [20_000, 20_000, 19_999]
    assert list(found.units.values()) == [3]


def test_other_numbers() -> None:
    found = read_times(pd.Series([7, 2_000_000_000, 7]), "t")
    assert found.day.tolist() == found.rank.tolist() == [0, 1, 0]


def test_dates() -> None:
    times = pd.Series(["2020-01-02T05:00", "2020-01-01", "2020-01-02"])
    for column in (times, pd.to_datetime(times, format="ISO8601")):
        found = read_times(column, "t")
        assert found.rank.tolist() == [2, 0, 1]
        assert found.day[0] == found.day[2] != found.day[1]
        assert found.units == {}


@pytest.mark.parametrize("value", ["inf", "-Infinity", np.inf, "1e400", "NULL"])
def test_times_that_are_none(value: object) -> None:
    times = pd.Series([1, 2, value, 4, 5], dtype=object)
    with pytest.raises(
        ValueError, match=r"^t must be finite.* in row 2, [^\n]*$"
    ):
        read_times(times, "t")


def test_several_units() -> None:
    times = pd.Series([1_600_000_000, 1_600_000_000_000, 1_700_000_000])
    units = read_times(times, "t").units
    assert units == {"seconds": 2, "milliseconds": 1}
    user, day = pd.Series([0, 1, 2]), pd.Series([0, 1, 2])
    assert len(suspect_times(units, user, day, "random")) == 1
    assert suspect_times({"seconds": 3}, user, day, "random") == []


def test_all_on_one_date() -> None:
    # Of three users with several interactions two have one date.
    user = pd.Series([0, 0, 1, 1, 1, 2, 2, 3])
    day = pd.Series([5, 5, 6, 6, 6, 6, 7, 8])
    (found,) = suspect_times({}, user, day, "leave_last_out")
    assert found.startswith("2 of the log's 3 users with several interactions")
    assert suspect_times({}, user, day, "global_time") == []
    day[1] = 4
    assert suspect_times({}, user, day, "leave_last_out") == []


def test_a_third_of_zeros() -> None:
    times = pd.Series([1_600_000_000, 0, 1_700_000_000])
    units = read_times(times, "t").units
    assert units == {"seconds": 2, "no known unit": 1}
    nothing = pd.Series([0, 1, 2])
    (found,) = suspect_times(units, nothing, nothing, "random")
    assert "(2 in seconds, 1 in no known unit)" in found
    assert read_times(pd.Series([0, 1, 2]), "t").units == {}


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1367458200] * 10 + ["NULL"] * 20, "finite .*'NULL' in row 10, "),
        (["2020-01-01"] * 2 + ["soon"] * 3, "finite .*'soon' in row 2, "),
        (
            ["1367458200", "2020-01-02", "2020-01-03"],
            "all numbers or all dates .*'1367458200' in row 0 and '2020-01-02' "
            "in row 1, ",
        ),
        (
            ["2020-01-02", 7, 8, 9],
            "all numbers or all dates .*'2020-01-02' in row 0 and '7' in row 1",
        ),
        ([1j, 2.0], "finite numbers .*1j"),
        ([True, False], "finite numbers .*'True'"),
        ([np.inf, 1.0], "finite numbers .*'inf' in row 0"),
        (["1367458200", "0", "true"], "finite numbers .*'true' in row 2"),
        (["1", "False ", "2"], "finite numbers .*'False ' in row 1"),
        ([7, 1, True], "finite numbers .*'True' in row 2"),
    ],
)
def test_the_bad_time_is_blamed(times: list, message: str) -> None:
    is_mixed = len({*map(type, times)}) > 1 and 1j not in times
    column = pd.Series(times, dtype=object if is_mixed else None)
    with pytest.raises(ValueError, match=f"^t must be {message}"):
        read_times(column, "t")


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_seconds_of_numbers(scale: int) -> None:
    times = pd.Series([1_600_000_000, 1_500_000_001]) * scale + scale // 2
    seconds = read_times(times, "t").seconds
    assert seconds.dtype == np.int64
    assert seconds.tolist() == [1_600_000_000, 1_500_000_001]


@pytest.mark.parametrize(
    "times",
    [
        ["2020-09-13T12:26:40", "1969-12-31T23:59:59"],
        ["2020-09-13T14:26:40+02:00", "1970-01-01T01:59:59+02:00"],
    ],
)
def test_seconds_of_dates(times: list) -> None:
    column = pd.Series(times)
    dates = pd.to_datetime(column, format="ISO8601")
    for values in (column, dates, dates.dt.as_unit("us")):
        assert read_times(values, "t").seconds.tolist() == [1_600_000_000, -1]


@pytest.mark.parametrize("times", [[0, 1, 2], [1.6e9, 1.6e12], [1.6e9, 7]])
def test_no_seconds(times: list) -> None:
    assert read_times(pd.Series(times), "t").seconds is None

import numpy as np
import pytest

from tmfun_pyg.utils.ids import (
    RawIds,
    ids_from_text,
    index_by_text,
    is_integer,
    is_no_id,
)


def test_index_by_text() -> None:
    names = index_by_text(np.array(["b", "a", "007", "\ud800"]))
    assert names == {"b": 0, "a": 1, "007": 2, "\ud800": 3}
    numbers = index_by_text(np.array([7, -3, 0, 2**62]))
    assert numbers == {"7": 0, "-3": 1, "0": 2, str(2**62): 3}


def test_integers_from_text() -> None:
    names = ["0", "-7", str(2**63 - 1), str(-(2**63))]
    found = ids_from_text(names)
    assert found.dtype == np.int64
    assert found.tolist() == [0, -7, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    "name",
    [
        *("05", "-0", "+1", "1_000", " 1", "1 ", "\u0661", "\uff11", "1.0"),
        *("1e3", str(2**63), str(-(2**63) - 1), "a", ""),
    ],
)
def test_other_text_stays(name: str) -> None:
    assert ids_from_text(["7", name]).tolist() == ["7", name]
    assert is_integer(["7", name]).tolist() == [True, False]


def test_is_no_id() -> None:
    good = ["a", "a b", "\u65e5", "a\u2028b", "a\tb", '"', "-"]
    bad = ["", " ", "a ", " a", "a\n", "a\nb", "\r", "a\0", "a\u2028", "\ud800"]
    assert not is_no_id(good).any()
    assert is_no_id(bad).all()


def test_find_ids() -> None:
    numbers, names = np.array([7, -3, 2**62]), np.array(["b", "7", "07"])
    for raw in ([2**62, 7, 7], np.array([2**62, 7, 7]), [str(2**62), "7", 7]):
        assert RawIds(numbers).find("x", raw).tolist() == [2, 0, 0]
    assert RawIds(names).find("x", iter(["07", 7, "b"])).tolist() == [2, 1, 0]
    for ids in (numbers, names):
        assert RawIds(ids).find("x", []).dtype == np.int64
    for raw in ([2**70], [2**63], ["007"]):
        with pytest.raises(ValueError, match=rf"such as 7 \(got {raw[0]}\)"):
            RawIds(numbers).find("x", raw)
    with pytest.raises(
        ValueError, match=r"got 6 others: 0, 1, 2, 3, 4, \.\.\."
    ):
        RawIds(numbers).find("x", range(6))
    with pytest.raises(ValueError, match=r"integers or strings \(got True\)"):
        RawIds(numbers).find("x", [7, True])

import numpy as np
import pytest

from tmfun_pyg.utils.ids import IdIndex


def test_text() -> None:
    index = IdIndex(np.array(["b", "", "007", "é", "a"]))
    found = index.find(["a", "x", "007", "7", "", "é", "zz"])
    assert found.tolist() == [4, -1, 2, -1, 1, 3, -1]


def test_integers() -> None:
    index = IdIndex(np.array([30, -2, 0, 10**17]))
    # Only as Python writes them; anything else is another id:
    asked = [
        "30",
        "030",
        "-2",
        "0",
        "-0",
        "1" + "0" * 17,
        "x",
        " 30",
        "9" * 30,
    ]
    expected = [0, -1, 1, 2, -1, 3, -1, -1, -1]
    assert index.find(asked).tolist() == expected
    # A text that is none must not pass for what it is replaced by:
    assert index.find(["abc", ""]).tolist() == [-1, -1]


@pytest.mark.parametrize(
    "ids", [np.array(["a"]), np.array([], dtype=np.int64)]
)
def test_nothing_to_find(ids: np.ndarray) -> None:
    assert IdIndex(ids).find([]).tolist() == []
    assert IdIndex(ids[:0]).find(["a", "1"]).tolist() == [-1, -1]

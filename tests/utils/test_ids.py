import numpy as np

from tmfun_pyg.utils.ids import IdIndex


def test_id_index() -> None:
    names = IdIndex(np.array(["b", "a", "007"]))
    assert names.find(["007", "a", "7", "", "b"]).tolist() == [2, 1, -1, -1, 0]
    numbers = IdIndex(np.array([7, -3, 0]))
    asked = ["-3", "7", "07", "x", "0", "-0", "", "9" * 30]
    expected = [1, 0, -1, -1, 2, -1, -1, -1]
    assert numbers.find(asked).tolist() == expected
    assert numbers.find([]).tolist() == []

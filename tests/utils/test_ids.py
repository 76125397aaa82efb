import numpy as np

from tmfun_pyg.utils.ids import index_by_text


def test_index_by_text() -> None:
    names = index_by_text(np.array(["b", "a", "007", "\ud800"]))
    assert names == {"b": 0, "a": 1, "007": 2, "\ud800": 3}
    numbers = index_by_text(np.array([7, -3, 0, 2**62]))
    assert numbers == {"7": 0, "-3": 1, "0": 2, str(2**62): 3}

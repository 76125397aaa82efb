from pathlib import Path

import numpy as np
import pytest

from tmfun_pyg.datasets.features import read_features


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"}", b"("),  # A header that never ends.
        (b"'shape'", b"'shap\x00'"),
        (b"(3, 2)", b"(3, 9)"),
        (b"<f4", b"|O8"),
        (b"\x93NUMPY", b"\x94NUMPY"),
    ],
)
def test_damaged_header(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((3, 2), np.float32))
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    message = "x.npy' must be a complete .npy file of plain numbers"
    with pytest.raises(ValueError, match=message):
        read_features(str(path))

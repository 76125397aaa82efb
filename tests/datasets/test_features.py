from pathlib import Path

import numpy as np
import pytest

from tmfun_pyg.datasets.features import check_modalities, read_features


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


def test_memory_map(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(6.0).reshape(3, 2))
    matrix = read_features(str(path))
    assert isinstance(matrix, np.memmap)
    assert matrix.tolist() == [[0, 1], [2, 3], [4, 5]]
    np.save(path, np.empty((0, 2)))
    assert read_features(str(path)).shape == (0, 2)
    np.save(path, np.array([{}]), allow_pickle=True)
    message = r"plain numbers \(got Python objects, or another kind of file\)"
    with pytest.raises(ValueError, match=message):
        read_features(str(path))


@pytest.mark.parametrize("name", ["embedding", "content"])
def test_names_that_stand_for_more_than_a_modality(name: str) -> None:
    with pytest.raises(ValueError, match=rf"must not .*\(got '{name}'\)"):
        check_modalities(["image", name])

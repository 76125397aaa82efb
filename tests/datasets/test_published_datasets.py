import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import (
    AmazonBaby,
    AmazonClothing,
    AmazonElectronics,
    AmazonSports,
    MultimodalRecDataset,
    TikTok,
)

ALL = [AmazonBaby, AmazonClothing, AmazonElectronics, AmazonSports, TikTok]


@pytest.mark.parametrize(
    ("cls", "sizes"),
    [
        (AmazonBaby, (118_551, 21_682, 20_559)),
        (AmazonClothing, (197_338, 41_189, 40_150)),
        (AmazonSports, (218_409, 40_029, 37_899)),
        (TikTok, (59_541, 3_051, 6_130)),
    ],
)
def test_real_data(real_data, cls, sizes):
    dataset = cls(real_data, modalities=[])
    data = dataset[0]
    data.validate(raise_on_error=True)
    store = data["user", "interacts", "item"]
    found = (
        store.edge_index,
        store.val_edge_label_index,
        store.test_edge_label_index,
    )
    assert tuple(index.size(1) for index in found) == sizes
    assert data["user"].num_nodes == cls.statistics.users
    assert data["item"].num_nodes == cls.statistics.items
    assert sum(sizes) == cls.statistics.interactions
    assert dataset.num_duplicates == 0

    raw = np.loadtxt(dataset.raw_paths[0], dtype=np.int64, skiprows=1)
    for split, index in enumerate(found):
        rows = raw[raw[:, 2] == split]
        order = np.lexsort((rows[:, 1], rows[:, 0]))
        assert np.array_equal(index.numpy().T, rows[order, :2])


def test_tiktok_features(real_data):
    item = TikTok(real_data)[0]["item"]
    for name in ("audio", "image"):
        raw = np.load(real_data / "tiktok" / f"{name}_feat.npy")
        x = item[f"x_{name}"]
        assert x.dtype == torch.float32
        assert x.shape == (6710, 128)
        assert np.array_equal(x.numpy(), raw.astype(np.float32))


@pytest.mark.parametrize("cls", [AmazonBaby, AmazonElectronics])
def test_by_hand(cls, tmp_path):
    with pytest.raises(ValueError, match="by hand into '") as info:
        cls(tmp_path)
    for part in (
        f"{cls.folder}.inter",
        "feature files",
        "'image_feat.npy' and 'text_feat.npy'",
        "https://drive.google.com/drive/folders/",
        str(tmp_path / cls.folder / "raw"),
    ):
        assert part in str(info.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cls", ALL)
def test_statistics_are_checked(cls, tmp_path, cache):
    path = tmp_path / cls.folder / f"{cls.folder}.inter"
    path.parent.mkdir()
    path.write_text("userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n")
    # What the general class has read and kept is not taken for checked.
    MultimodalRecDataset(tmp_path, cls.folder, modalities=[])
    before = set(tmp_path.rglob("*"))
    message = (
        rf"{cls.folder}.inter' must have Statistics\(users="
        rf"{cls.statistics.users}, .* \(got Statistics\(users=1, items=3, "
        r"interactions=3\)\)"
    )
    with pytest.raises(ValueError, match=message):
        cls(tmp_path, modalities=[])
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("cls", ALL)
def test_documented_statistics(cls):
    numbers = [f"{number:,}" for number in cls.statistics]
    stats = cls.__doc__.partition("**STATS:**")[2]
    assert re.findall(r"[\d,]{4,}", stats) == numbers
    page = Path(__file__).parents[2] / "docs" / "datasets.md"
    row = rf"\| {{class}}`~tmfun_pyg.datasets.{cls.__name__}` \|(.*)\n"
    cells = re.search(row, page.read_text("utf-8"))[1].split("|")
    assert [cell.strip() for cell in cells[:3]] == numbers

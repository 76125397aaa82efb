import io
import json
from typing import Dict, Iterator

import numpy as np
import pytest
from local_hub import LocalHub, serve

from tmfun_pyg.datasets import AmazonClothing, AmazonSports, TikTok
from tmfun_pyg.datasets._mmhcl import Copy, digest
from tmfun_pyg.datasets._mmrec import read_inter
from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics

IMAGE = np.arange(20.0).reshape(5, 4) + 1
TEXT = np.arange(15.0, dtype=np.float32).reshape(5, 3) + 1
SPLITS = {
    "train": {"2": [3, 0], "0": [1, 0], "1": [4, 2]},
    "val": {"0": [4], "1": [0], "2": []},
    "test": {"2": [1], "0": [3], "1": []},
}
INTER = (
    "userID\titemID\tx_label\n2\t3\t0\n2\t0\t0\n0\t1\t0\n0\t0\t0\n1\t4\t0\n"
    "1\t2\t0\n0\t4\t1\n1\t0\t1\n2\t1\t2\n0\t3\t2\n"
)
DIGEST = "6ab607994eec6b5f9bfc278aa4065c8767f3827522e457d5a13d4356c172b792"


class Toy(PublishedDataset):
    folder = "toy"
    statistics = Statistics(3, 5, 10)
    public_copy = Copy("Toy", DIGEST)


def npy(matrix: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, matrix)
    return file.getvalue()


def published() -> Dict[str, bytes]:
    files = {
        f"Toy/5-core/{name}.json": json.dumps(split).encode()
        for name, split in SPLITS.items()
    }
    files["Toy/0-core/train.json"] = b'{"0": [0]}'
    files["Toy/image_feat.npy"] = npy(IMAGE)
    files["Toy/text_feat.npy"] = npy(TEXT)
    return files


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    hub = LocalHub(published())
    with serve(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", f"{address}/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield hub


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "root" / "toy" / "raw"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download(hub, tmp_path, raw):
    dataset = Toy(tmp_path / "root")
    assert dataset.modalities == ["image", "text"]
    data = dataset[0]
    assert data["item"].x_image.tolist() == IMAGE.tolist()
    assert data["item"].x_text.tolist() == TEXT.tolist()
    store = data["user", "interacts", "item"]
    assert store.edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [0, 1, 2, 4, 0, 3]]
    assert store.val_edge_label_index.tolist() == [[0, 1], [4, 0]]
    assert store.test_edge_label_index.tolist() == [[0, 2], [3, 1]]
    assert (raw / "toy.inter").read_text() == INTER
    assert names(raw) == [
        "image_feat.npy",
        "test.json",
        "text_feat.npy",
        "toy.inter",
        "train.json",
        "val.json",
    ]
    # The second time, nothing is asked for.
    hub.asked.clear()
    assert Toy(tmp_path / "root").modalities == ["image", "text"]
    assert hub.asked == []


def test_some_modalities(hub, tmp_path, raw):
    assert Toy(tmp_path / "root", ["text"]).modalities == ["text"]
    assert "image_feat.npy" not in names(raw)
    hub.asked.clear()
    assert Toy(tmp_path / "root", ["image"]).modalities == ["image"]
    assert hub.asked == [("Toy/image_feat.npy", None)]


def test_unknown_modality(hub, tmp_path):
    with pytest.raises(ValueError, match=r"\['Toy/audio_feat.npy'\] \(got "):
        Toy(tmp_path / "root", ["audio"])
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_transfer(hub, tmp_path, raw, ranges):
    hub.ranges = ranges
    path = "Toy/image_feat.npy"
    hub.cut[path] = [100, 150 if not ranges else 50]
    dataset = Toy(tmp_path / "root")
    assert dataset[0]["item"].x_image.tolist() == IMAGE.tolist()
    starts = ["bytes=100-", "bytes=150-"]
    assert [r for p, r in hub.asked if p == path] == [None, *starts]


def test_resume(hub, tmp_path, raw):
    path = "Toy/image_feat.npy"
    hub.cut[path] = [100, 0]
    message = r"image_feat.npy' cannot be downloaded: .* 100 of 288 bytes"
    with pytest.raises(ConnectionError, match=message) as info:
        Toy(tmp_path / "root")
    for part in ("by hand", "train.json", "<modality>_feat.npy", str(raw)):
        assert part in str(info.value)
    assert "\n" not in str(info.value)
    assert names(raw) == ["image_feat.npy.part"]
    hub.asked.clear()
    dataset = Toy(tmp_path / "root")
    assert hub.asked[0] == (path, "bytes=100-")
    assert dataset[0]["item"].x_image.tolist() == IMAGE.tolist()
    assert "image_feat.npy.part" not in names(raw)


@pytest.mark.parametrize("size", [288, 400])
def test_part_of_another_file(hub, tmp_path, raw, size):
    raw.mkdir(parents=True)
    (raw / "image_feat.npy.part").write_bytes(b"x" * size)
    if size == 288:
        with pytest.raises(ValueError, match="must have the checksum"):
            Toy(tmp_path / "root")
        assert names(raw) == []
    dataset = Toy(tmp_path / "root")
    assert dataset[0]["item"].x_image.tolist() == IMAGE.tolist()


def test_dead_link(hub, tmp_path):
    hub.status["Toy/image_feat.npy"] = 404
    message = r"image_feat.npy' cannot be downloaded: HTTP status 404 \(Not"
    with pytest.raises(ConnectionError, match=message) as info:
        Toy(tmp_path / "root")
    assert "by hand into" in str(info.value)
    assert not (tmp_path / "root").exists()


def test_truncated(hub, tmp_path):
    hub.sent["Toy/text_feat.npy"] = npy(TEXT)[:-1]
    with pytest.raises(ValueError, match=r"have 188 bytes \(got 187\).*hand"):
        Toy(tmp_path / "root", ["text"])
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("size", [0, -1])
def test_empty(hub, tmp_path, monkeypatch, size):
    listing = json.loads(hub.listing("Toy"))
    for entry in listing:
        entry["size"] = size
    content = json.dumps(listing).encode()
    monkeypatch.setattr(hub, "listing", lambda folder: content)
    with pytest.raises(ValueError, match=rf"not be empty \(got {size}\).*hand"):
        Toy(tmp_path / "root", ["text"])
    assert not (tmp_path / "root").exists()


def test_too_long(hub, tmp_path):
    hub.lengths = False
    hub.sent["Toy/text_feat.npy"] = npy(TEXT) + b"?"
    with pytest.raises(ValueError, match="must have the checksum"):
        Toy(tmp_path / "root", ["text"])
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("path", ["text_feat.npy", "5-core/val.json"])
def test_wrong_checksum(hub, tmp_path, raw, path):
    content = hub.files[f"Toy/{path}"]
    hub.sent[f"Toy/{path}"] = content[:-1] + b"?"
    with pytest.raises(ValueError, match=rf"{path}' must have the checksum"):
        Toy(tmp_path / "root")
    assert not list(raw.glob("*.part"))
    assert not (raw / "toy.inter").exists()
    hub.sent.clear()
    assert Toy(tmp_path / "root").modalities == ["image", "text"]


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for cls in (AmazonClothing, AmazonSports, TikTok):
        with pytest.raises(ConnectionError, match="by hand") as info:
            cls(tmp_path / "root")
        folder = cls.public_copy.folder
        assert f"/Xu-SII-BNU/MMHCL/tree/main/{folder} or" in str(info.value)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "listing", [b"<html>", b'{"error": "gone"}', b'[{"type": "file"}]']
)
def test_other_listing(hub, tmp_path, monkeypatch, listing):
    monkeypatch.setattr(hub, "listing", lambda folder: listing)
    with pytest.raises(ValueError, match="must be a list of files with type"):
        Toy(tmp_path / "root")


def test_by_hand(tmp_path, raw, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    raw.mkdir(parents=True)
    for path, content in published().items():
        if "0-core" not in path:
            (raw / path.rpartition("/")[2]).write_bytes(content)
    assert Toy(tmp_path / "root").modalities == ["image", "text"]
    assert (raw / "toy.inter").read_text() == INTER


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"0": [4], "1": [0, 3]}, r"must have Statistics\(.*interactions=11\)"),
        ({"0": [4], "1": [3]}, "must hold interactions with the checksum"),
        ([[0, 4]], r"val.json' must be an object .* \(got list\)"),
        ({"0": 4}, r"\(got a user without a list\)"),
        ({"u0": [4]}, r"\(got the user 'u0'\)"),
        ({"0": ["4"]}, r"\(got an item that is no integer\)"),
        ({"0": [-4]}, r"\(got items from -4 to -4\)"),
    ],
)
def test_other_splits(hub, tmp_path, raw, split, message):
    hub.files["Toy/5-core/val.json"] = json.dumps(split).encode()
    with pytest.raises(ValueError, match=message):
        Toy(tmp_path / "root", [])
    assert names(raw) == ["test.json", "train.json", "val.json"]


def test_features_of_another_copy(hub, tmp_path):
    # The interactions may be split, and the items numbered, in another way.
    (tmp_path / "toy.inter").write_text(INTER)
    with pytest.raises(ValueError, match=r"missing: \['.*image_feat.npy'\]"):
        Toy(tmp_path, ["image"])
    assert hub.asked == []


@pytest.mark.parametrize("cls", [AmazonClothing, AmazonSports, TikTok])
def test_digests(real_data, cls):
    path = real_data / cls.folder / f"{cls.folder}.inter"
    assert digest(read_inter(str(path))) == cls.public_copy.digest

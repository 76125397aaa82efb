"""Folders of vectors, in the layout of Ducho: a folder for each modality,
library, model and layer, with a file for each item.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmfun_pyg.datasets import MultimodalRecDataset, prepare

IMAGE = Path("visual_embeddings/torch/ResNet50/avgpool")
TEXT = Path("textual_embeddings/sentence_transformers/MiniLM/1")


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{u},B{(u + i) % 7}" for u in range(10) for i in range(5)]
    Path("log.csv").write_text("\n".join(["user_id,item_id", *rows, ""]))
    for folder in (IMAGE, TEXT):
        folder.mkdir(parents=True)


def run(**features: Path) -> Any:
    paths = {name: str(path) for name, path in features.items()}
    return prepare("log.csv", "out", "own", paths)


def test_ducho(capsys: Any) -> None:
    for item in range(6):  # B6 has no picture.
        np.save(IMAGE / f"B{item}.npy", np.full((1, 4), item + 1, np.float32))
    for item in (0, 1, 2, 3, 4, 6, 9):  # B9 is not in the log.
        np.save(TEXT / f"B{item}.npy", np.full(3, item + 1, np.float32))
    (TEXT / ".DS_Store").touch()
    report = run(visual=IMAGE, textual=TEXT)
    item = MultimodalRecDataset("out", "own", zero_rows="mask")[0]["item"]
    assert item.x_visual.shape == (8, 4)
    assert item.x_visual[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 0, 0]
    assert item.x_textual[:, 0].tolist() == [1, 2, 3, 4, 5, 0, 7, 10]
    assert item.mask_visual.logical_not().nonzero().tolist() == [[6], [7]]
    assert item.mask_textual.logical_not().nonzero().tolist() == [[5]]
    missing = {name: x["missing"] for name, x in report.modalities.items()}
    assert missing == {"visual": 2, "textual": 1}
    assert report.cold_items == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((2, 4)), r"B1\.npy' must hold numbers of .*shape \[2, 4\]\)"),
        (np.float32(1), r"B1\.npy' must hold numbers of .*shape \[\]\)"),
        (np.ones(0), r"B1\.npy' must hold numbers of .*shape \[0\]\)"),
        (np.array(["a"]), r"B1\.npy' must hold numbers of .*\(got <U1 of"),
        (np.array([{}]), r"B1\.npy' must be a complete \.npy file"),
        (
            np.ones(3),
            r"B1\.npy' must hold 4 numbers, .*B0\.npy' does \(got 3\)",
        ),
        (np.array([1, 2, 3, np.nan]), r"avgpool' must be finite .*: B1"),
    ],
)
def test_other_vectors(value: Any, message: str) -> None:
    np.save(IMAGE / "B0.npy", np.ones((1, 4)))
    np.save(IMAGE / "B1.npy", value)
    with pytest.raises(ValueError, match=message):
        run(visual=IMAGE)
    assert not Path("out").exists()


@pytest.mark.parametrize("other", ["B1.txt", "map.tsv", "B1/"])
def test_other_files(other: str) -> None:
    np.save(IMAGE / "B0.npy", np.ones(4))
    path = IMAGE / other
    path.mkdir() if other.endswith("/") else path.touch()
    message = rf"avgpool' must hold files .* \(got \['{path.name}'\]\)"
    with pytest.raises(ValueError, match=message):
        run(visual=IMAGE)
    with pytest.raises(ValueError, match=r"ResNet50' must .*\['avgpool'\]"):
        run(visual=IMAGE.parent)


def test_folder_named_as_a_file() -> None:
    np.save(IMAGE / "B0.npy", np.ones(4))
    (IMAGE / "B1.npy").mkdir()
    with pytest.raises(
        ValueError, match=r"B1\.npy' must be a file \(got a fol"
    ):
        run(visual=IMAGE)


@pytest.mark.skipif(os.name != "posix", reason="limits are of Unix")
def test_more_files_than_may_be_open() -> None:
    import resource

    for item in range(300):
        np.save(IMAGE / f"B{item}.npy", np.full(2, item + 1))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        report = run(visual=IMAGE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert report.modalities["visual"]["present"] == 300

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from toy_files import write_files

from tmfun_pyg.baselines import ContentKNN
from tmfun_pyg.nn import LATTICE, MICRO, TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
)
from tmfun_pyg.transforms import ToRecGraph


class Own(LightGCN):
    pass


@pytest.fixture
def source(tmp_path: Path, monkeypatch: Any) -> DatasetOptions:
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data")
    return DatasetOptions(str(tmp_path / "data"), "toy", k=3)


def untrained(source: DatasetOptions, cls: Any = TMFUN) -> Recommender:
    dataset = source.load()
    model = cls.from_data(dataset[0])
    return Recommender(model, dataset, source, epoch=4)


def assert_same(found: Recommender, expected: Recommender) -> None:
    for mine, other in zip(
        found.recommend(), expected.recommend(), strict=True
    ):
        assert np.array_equal(mine, other)


@pytest.mark.parametrize("cls", [LATTICE, MICRO])
def test_learned_graphs(
    cls: Any, tmp_path: Path, source: DatasetOptions
) -> None:
    """They are kept beside the weights."""
    recommender = untrained(source, cls)
    path = tmp_path / "a.ckpt"
    recommender.save(path)  # Before there are neighbors.
    assert Recommender.load(path).model.learned["visual"].neighbors is None
    recommender.model.prepare(recommender.data, 0)
    recommender.save(path)
    loaded = Recommender.load(path)
    neighbors = recommender.model.learned["visual"].neighbors
    assert torch.equal(loaded.model.learned["visual"].neighbors, neighbors)
    assert_same(loaded, recommender)
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["state_dict"]["model.learned.visual._extra_state"]
    for bad, match in (
        ([1], r"'model.*_state\.neighbors' is none\)"),
        (neighbors.double(), r"neighbors must not be of torch\.float64"),
    ):
        state["neighbors"] = bad
        torch.save(checkpoint, path)
        with pytest.raises(ValueError, match=match):
            Recommender.load(path)
    for bad in (neighbors + 10**6, neighbors - 1, neighbors.flip(1)):
        state["neighbors"] = bad
        torch.save(checkpoint, path)
        with pytest.raises(ValueError, match=r"'EdgeIndex'|is not sorted"):
            Recommender.load(path).recommend()


def test_of_training(tmp_path: Path, source: DatasetOptions) -> None:
    dataset = source.load()
    data = ToRecGraph()(dataset[0])
    model = TMFUN.from_data(data, channels=8, num_layers=2)
    module = RecommenderModule(model, data, dataset=dataset, source=source)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, InteractionDataModule(data, 64))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    expected = Recommender(model, dataset)
    loaded = Recommender.load(tmp_path / "a.ckpt")
    assert_same(loaded, expected)
    assert not loaded.model.training
    assert loaded.model.num_layers == 2
    assert loaded.source == source
    assert loaded.epoch == trainer.current_epoch
    assert loaded.dataset.modalities == ["visual"]
    # A copy elsewhere is the same data:
    write_files(tmp_path / "copy")
    copy = DatasetOptions(str(tmp_path / "copy"), "toy", k=3).load()
    assert_same(Recommender.load(tmp_path / "a.ckpt", copy), expected)
    # And what is saved again is the same checkpoint:
    loaded.save(tmp_path / "b.ckpt")
    files = [torch.load(tmp_path / f"{name}.ckpt") for name in "ab"]
    for key in ("format_version", "vocabulary", "recommender", "epoch"):
        assert files[0][key] == files[1][key]
    module.on_load_checkpoint(files[1])
    module.load_state_dict(files[1]["state_dict"])


@pytest.mark.parametrize("cls", [LightGCN, ContentKNN])
def test_saved(tmp_path: Path, source: DatasetOptions, cls: Any) -> None:
    recommender = untrained(source, cls)
    recommender.save(tmp_path / "a.ckpt")
    loaded = Recommender.load(tmp_path / "a.ckpt")
    assert type(loaded.model) is cls
    assert loaded.epoch == 4
    assert loaded.source == source
    assert_same(loaded, recommender)


def test_cold_items(
    tmp_path: Path, make_recommender: Any, features: Any
) -> None:
    """Are saved if they are in the data set, not if they were added."""
    recommender = replace(make_recommender(), cold_items=True)
    recommender.save(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt' .*give 'dataset'"):
        Recommender.load(tmp_path / "a.ckpt")
    loaded = Recommender.load(tmp_path / "a.ckpt", recommender.dataset)
    assert loaded.cold_items
    assert loaded.source is None
    found, expected = loaded.recommend(), recommender.recommend()
    assert (found.item_id == expected.item_id).all()
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-5)
    one = {name: x[:1] for name, x in features.items()}
    two = {name: x[1:] for name, x in features.items()}
    more = recommender.add_items(["x"], one).add_items(["y", "z"], two)
    more = replace(more, fallback="popular")
    for larger in (more, Recommender(more.model, more.dataset)):
        with pytest.raises(ValueError, match="export it, or prepare") as err:
            larger.save(tmp_path / "b.ckpt")
        assert "(got 3 item(s): x, y, z)" in str(err.value)
    assert not (tmp_path / "b.ckpt").exists()
    recommender.save(tmp_path / "b.ckpt")


def test_other_data(tmp_path: Path, source: DatasetOptions) -> None:
    untrained(source).save(tmp_path / "a.ckpt")
    mine = source.load().fingerprint
    write_files(tmp_path / "data", seed=1)
    other = source.load().fingerprint
    with pytest.raises(ValueError, match=f"{mine}.*{other}"):
        Recommender.load(tmp_path / "a.ckpt")


def test_own_class(tmp_path: Path, source: DatasetOptions) -> None:
    recommender = untrained(source, Own)
    recommender.save(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="'Own', which is not in tmfun_pyg"):
        Recommender.load(tmp_path / "a.ckpt")
    loaded = Recommender.load(tmp_path / "a.ckpt", model_cls=Own)
    assert_same(loaded, recommender)
    with pytest.raises(ValueError, match="a 'Own', not a 'LightGCN'"):
        Recommender.load(tmp_path / "a.ckpt", model_cls=LightGCN)


def test_options(tmp_path: Path, source: DatasetOptions) -> None:
    recommender = untrained(source, LightGCN)
    for options in (None, {"channels": torch.nn.ReLU}):
        recommender.model.options = options
        recommender.save(tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match="must have been made by"):
            Recommender.load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("version", [None, 0, 2])
def test_version(tmp_path: Path, source: DatasetOptions, version: Any) -> None:
    untrained(source).save(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["format_version"] == 1
    checkpoint["format_version"] = version
    if version is None:
        del checkpoint["format_version"]
    torch.save(checkpoint, tmp_path / "b.ckpt")
    with pytest.raises(
        ValueError, match=rf"b\.ckpt.*format_version 1 .got {version}"
    ):
        Recommender.load(tmp_path / "b.ckpt")


def test_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        Recommender.load(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ckpt' cannot be read"):
        Recommender.load(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="must be a checkpoint of"):
        Recommender.load(tmp_path / "other.ckpt")

    class Bad:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(ValueError, match="cannot be read"):
        Recommender.load(tmp_path / "bad.ckpt")
    assert not (tmp_path / "made").exists()


def test_weights_that_are_not_finite_are_not_saved(
    make_recommender: Any, tmp_path: Path
) -> None:
    recommender = make_recommender(LightGCN)
    recommender.save(tmp_path / "a.ckpt")
    before = (tmp_path / "a.ckpt").read_bytes()
    with torch.no_grad():
        recommender.model.user_embedding.weight[1] = torch.inf
    with pytest.raises(ValueError, match=r"finite .*user_embedding\.weight"):
        recommender.save(tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == before

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from toy_files import write_files

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.nn import TMFUN, LightGCN, RankingModel
from tmfun_pyg.training import (
    AtomicCheckpointIO,
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
    load_checkpoint,
)
from tmfun_pyg.transforms import FeatureGraph


class Own(LightGCN):
    pass


def save(
    path: Path, source: Any, cls: type = TMFUN, **options: Any
) -> RankingModel:
    dataset = source.load()
    model = cls.from_data(dataset[0], channels=8, **options)
    module = RecommenderModule(model, dataset=dataset, source=source)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(module, InteractionDataModule(dataset[0], 64))
    trainer.save_checkpoint(path)
    return model.eval()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: Any) -> DatasetOptions:
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data")
    return DatasetOptions(str(tmp_path / "data"), "toy", k=3)


def same(x: Any, y: Any) -> bool:
    return all(map(torch.equal, x(), y()))


def test_load(tmp_path: Path, source: DatasetOptions) -> None:
    model = save(tmp_path / "a.ckpt", source, num_layers=2, heads=2)
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert same(loaded.model, model)
    assert not loaded.model.training
    assert loaded.model.num_layers == 2
    assert loaded.source == source
    assert loaded.dataset.modalities == ["visual"]
    # A copy elsewhere is the same data:
    write_files(tmp_path / "copy")
    copy = DatasetOptions(str(tmp_path / "copy"), "toy", k=3).load()
    assert same(load_checkpoint(tmp_path / "a.ckpt", copy).model, model)


def test_embedded(tmp_path: Path) -> None:
    model = save(tmp_path / "a.ckpt", DatasetOptions(), LightGCN)
    assert same(load_checkpoint(tmp_path / "a.ckpt").model, model)


def test_other_data(tmp_path: Path, source: DatasetOptions) -> None:
    save(tmp_path / "a.ckpt", source)
    mine = source.load().fingerprint
    write_files(tmp_path / "data", seed=1)
    other = source.load().fingerprint
    with pytest.raises(ValueError, match=f"{mine}.*{other}"):
        load_checkpoint(tmp_path / "a.ckpt")
    dataset = source.load()
    model = TMFUN.from_data(dataset[0], channels=8)
    module = RecommenderModule(model, dataset=dataset)
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    with pytest.raises(ValueError, match=f"{mine}.*{other}"):
        module.on_load_checkpoint(checkpoint)


def test_fingerprint(tmp_path: Path, source: DatasetOptions) -> None:
    def of(
        users: Any = ("a", "b", "c"), items: Any = (1, 2, 3), x: float = 1.0
    ) -> str:
        dataset = source.load()
        data = dataset[0]
        data["item"].x_visual = data["item"].x_visual * x
        dataset._set_content(
            data, ["visual"], np.array(users), np.array(items), 0
        )
        return dataset.fingerprint

    assert of() == of()
    # Ids of the same letters, in a wider array:
    wide = np.array(["a", "b", "c"], dtype="U9")
    assert of(wide) == of()
    found = {of(), of(("a", "b", "d")), of(items=("1", "2", "3")), of(x=2.0)}
    assert len(found) == 4


def test_own_class(tmp_path: Path, source: DatasetOptions) -> None:
    model = save(tmp_path / "a.ckpt", source, Own)
    with pytest.raises(ValueError, match="'Own', which is not in tmfun_pyg"):
        load_checkpoint(tmp_path / "a.ckpt")
    loaded = load_checkpoint(tmp_path / "a.ckpt", model_cls=Own)
    assert same(loaded.model, model)
    with pytest.raises(ValueError, match="a 'Own', not a 'LightGCN'"):
        load_checkpoint(tmp_path / "a.ckpt", model_cls=LightGCN)


def test_no_source(tmp_path: Path) -> None:
    frame = {"user_id": [], "item_id": []}
    for user in range(20):
        frame["user_id"] += [f"u{user}"] * 4
        frame["item_id"] += [f"i{(user + step) % 15}" for step in range(4)]
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(15, 4))
    dataset = MultimodalRecDataset.from_interactions(
        pandas.DataFrame(frame), {"text": x}, pre_transform=FeatureGraph(3)
    )
    model = LightGCN.from_data(dataset[0])
    module = RecommenderModule(model, dataset=dataset)
    checkpoint = {"state_dict": module.state_dict(), "epoch": 0}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="where its data set is"):
        load_checkpoint(tmp_path / "a.ckpt")
    loaded = load_checkpoint(tmp_path / "a.ckpt", dataset)
    assert same(loaded.model, model.eval())


def test_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ckpt' cannot be read"):
        load_checkpoint(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="does not say what data set"):
        load_checkpoint(tmp_path / "other.ckpt")

    class Bad:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "made").exists()


def test_atomic(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(3)}, path)
    before = path.read_bytes()

    def fail(checkpoint: Any, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"a\.ckpt' cannot be written .*space"):
        AtomicCheckpointIO().save_checkpoint({"x": Tensor()}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

import errno
import os
import pickle
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from toy_files import write_files

from tmfun_pyg.baselines import EASE, ItemKNN
from tmfun_pyg.nn import TMFUN, LightGCN, RankingModel
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.training import (
    AtomicCheckpointIO,
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
)
from tmfun_pyg.training.checkpoint import read_checkpoint, restore_model
from tmfun_pyg.transforms import ToRecGraph


def make_module(source: DatasetOptions, **options: Any) -> RecommenderModule:
    dataset = source.load()
    data = ToRecGraph()(dataset[0])
    model = TMFUN.from_data(data, channels=8, **options)
    return RecommenderModule(model, data, dataset=dataset, source=source)


def save(path: Path, source: DatasetOptions, **options: Any) -> RankingModel:
    module = make_module(source, **options)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(module, InteractionDataModule(module.data, 64))
    trainer.save_checkpoint(path)
    return module.model


@pytest.fixture
def source(tmp_path: Path, monkeypatch: Any) -> DatasetOptions:
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data")
    return DatasetOptions(str(tmp_path / "data"), "toy", k=3)


@pytest.mark.parametrize("svd_start", [True, False, "auto"])
def test_switch_of_three_positions(
    tmp_path: Path, source: DatasetOptions, svd_start: Any
) -> None:
    save(tmp_path / "a.ckpt", source, svd_start=svd_start)
    loaded = Recommender.load(tmp_path / "a.ckpt")
    assert loaded.model.svd_start == svd_start


@pytest.mark.parametrize("softmax_negatives", [0, 16, "auto"])
@pytest.mark.parametrize("model_cls", [TMFUN, LightGCN])
def test_number_or_word(
    tmp_path: Path,
    source: DatasetOptions,
    model_cls: Any,
    softmax_negatives: Any,
) -> None:
    dataset = source.load()
    model = model_cls.from_data(
        ToRecGraph()(dataset[0]), softmax_negatives=softmax_negatives
    )
    Recommender(model, dataset).save(tmp_path / "a.ckpt")
    loaded = Recommender.load(tmp_path / "a.ckpt", dataset).model
    assert loaded.limits_negatives == (softmax_negatives == "auto")
    expected = 128 if softmax_negatives == "auto" else softmax_negatives
    assert loaded.softmax_negatives == expected


def test_what_a_checkpoint_holds(
    tmp_path: Path, source: DatasetOptions
) -> None:
    model = save(tmp_path / "a.ckpt", source, num_layers=2)
    checkpoint = read_checkpoint(tmp_path / "a.ckpt")
    about = checkpoint["recommender"]
    assert about["model"] == "TMFUN"
    assert about["options"] == {"channels": 8, "num_layers": 2}
    assert about["fingerprint"] == source.load().fingerprint
    assert DatasetOptions(**about["source"]) == source
    dataset = source.load()
    assert checkpoint["vocabulary"] == {
        "user_ids": dataset.user_ids.tolist(),
        "item_ids": dataset.item_ids.tolist(),
        "modalities": ["visual"],
    }
    # The weights of the model, and nothing of the data:
    expected = {f"model.{k}": v for k, v in model.state_dict().items()}
    assert checkpoint["state_dict"].keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(checkpoint["state_dict"][name], weight), name


def test_without_data_set(source: DatasetOptions) -> None:
    data = make_module(source).data
    module = RecommenderModule(TMFUN.from_data(data), data)
    checkpoint: Dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint == {}
    module.on_load_checkpoint(checkpoint)


def test_other_data(tmp_path: Path, source: DatasetOptions) -> None:
    save(tmp_path / "a.ckpt", source)
    checkpoint = read_checkpoint(tmp_path / "a.ckpt")
    module = make_module(source)
    module.on_load_checkpoint(checkpoint)  # Of the same data.
    mine = source.load().fingerprint
    write_files(tmp_path / "data", seed=1)
    other = source.load().fingerprint
    with pytest.raises(ValueError, match=f"{mine}.*{other}"):
        make_module(source).on_load_checkpoint(checkpoint)


def test_folder(tmp_path: Path) -> None:
    """A best epoch is named only where there is one."""
    message = f"'{tmp_path}' must be a checkpoint (got a folder)"
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        read_checkpoint(tmp_path)
    (tmp_path / "best.ckpt").touch()
    message += (
        f"; for the best epoch of the run pass '{tmp_path / 'best.ckpt'}'"
    )
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        read_checkpoint(tmp_path)


def test_feature_graphs_of_another_k(
    tmp_path: Path, source: DatasetOptions
) -> None:
    """They are another input of a model that reads them."""
    message = r"must be of FeatureGraph\(k=3\), .* \(got 4 neighbors\)"
    model = save(tmp_path / "a.ckpt", source)
    other = replace(source, k=4)
    with pytest.raises(ValueError, match=message):
        Recommender.load(tmp_path / "a.ckpt", other.load())
    with pytest.raises(ValueError, match=message):
        Recommender(model, other.load())
    with pytest.raises(ValueError, match=message):
        RecommenderModule(model, ToRecGraph()(other.load()[0]))
    checkpoint = read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=message):
        make_module(other).on_load_checkpoint(checkpoint)
    without = replace(source, feature_graphs=False).load()
    with pytest.raises(ValueError, match=r"\(got no neighbors\)"):
        Recommender.load(tmp_path / "a.ckpt", without)
    model = LightGCN.from_data(source.load()[0])
    Recommender(model, source.load()).save(tmp_path / "b.ckpt")
    Recommender.load(tmp_path / "b.ckpt", other.load()).recommend()


def test_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ckpt' cannot be read"):
        read_checkpoint(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="must be a checkpoint of"):
        read_checkpoint(tmp_path / "other.ckpt")

    class Bad:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "made").exists()


def test_atomic(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(3)}, path)
    before = path.read_bytes()

    def fail(checkpoint: Any, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"a\.ckpt' cannot be written: No space"):
        AtomicCheckpointIO().save_checkpoint({"x": Tensor()}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_altered_bytes(tmp_path: Path, source: DatasetOptions) -> None:
    """No altered file is taken for another model."""
    dataset = source.load()
    expected = save(tmp_path / "a.ckpt", source).state_dict()
    content = (tmp_path / "a.ckpt").read_bytes()
    rng = random.Random(0)
    states = []
    for _ in range(40):
        altered = bytearray(content)
        start, size = rng.randrange(len(altered)), rng.choice([1, 4, 400])
        for place in range(start, min(start + size, len(altered))):
            altered[place] ^= rng.randrange(1, 256)
        if rng.random() < 0.2:
            altered = altered[: rng.randrange(len(altered))]
        (tmp_path / "b.ckpt").write_bytes(altered)
        states.append(_restore(tmp_path / "b.ckpt", dataset))
    read = [state for state in states if state is not None]
    assert len(read) < 10
    for state in read:  # What was altered is not read, such as a time.
        for name, weight in expected.items():
            assert torch.equal(state[name], weight)


def _restore(path: Path, dataset: Any) -> Any:
    try:
        return restore_model(read_checkpoint(path), dataset).state_dict()
    except ValueError:
        return None


def alter(function: Any) -> Any:
    """Returns what alters one of the weights."""
    name = "model.user_embedding.weight"

    def change(checkpoint: Any) -> None:
        state = checkpoint["state_dict"]
        state[name] = function(state[name])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.pop("state_dict"),
            "must hold 'recommender', 'vocabulary', 'state_dict'",
        ),
        (lambda c: c.update(state_dict=[1]), "must hold 'recommender'"),
        (lambda c: c.update(recommender="x"), "must hold 'recommender'"),
        (lambda c: c["recommender"].pop("options"), "must hold 'recommender'"),
        (lambda c: c.update(epoch="last"), "must hold 'recommender'"),
        (lambda c: c.pop("epoch"), "must hold 'recommender'"),
        (lambda c: c["recommender"].update(source=3), "must hold 'recommender"),
        (
            lambda c: c["recommender"].update(source={"place": "x"}),
            "must hold 'recommender",
        ),
        (lambda c: c["recommender"].update(options=[1]), "must hold 'recomm"),
        (
            lambda c: c["recommender"].update(options={"width": 4}),
            "options of .*ckpt' must be those of LightGCN .*width",
        ),
        (
            lambda c: c["recommender"].update(model="BPRLoss"),
            "ckpt' holds a 'BPRL",
        ),
        (
            lambda c: c["state_dict"].update(
                {"user_embedding.weight": torch.ones(1)}
            ),
            "must be those of the LightGCN .*user_embedding",
        ),
        (lambda c: c["state_dict"].popitem(), "ckpt' must be those of the L"),
        (
            lambda c: c["state_dict"].update({"model.more": torch.ones(1)}),
            "must be those of the LightGCN",
        ),
        (
            lambda c: c["state_dict"].update(
                {"model.user_embedding.weight": torch.ones(1)}
            ),
            "must be those of the LightGCN",
        ),
        (
            lambda c: c["state_dict"].update(
                {"model.user_embedding.weight": "x"}
            ),
            "weights in dense tensors of real numbers",
        ),
        (alter(torch.Tensor.cfloat), "weights in dense tensors of real"),
        (alter(torch.Tensor.to_sparse), "weights in dense tensors of real"),
        (alter(lambda x: x.to("meta")), "weights in dense tensors of real"),
        (
            alter(lambda x: x.to(torch.float8_e4m3fn)),
            "real numbers .'model.user_embedding.weight' is none",
        ),
        (lambda c: c["state_dict"].update({3: torch.ones(1)}), "'state_dict'"),
        (alter(torch.Tensor.long), "user_embedding.weight' must not be of"),
        (lambda c: c["recommender"].update(fingerprint=None), "must hold 'rec"),
        (lambda c: c["recommender"].update(model=5), "must hold 'recommender"),
        (lambda c: c["recommender"].update(model="EmbeddingModel"), "must be"),
        (lambda c: c.pop("vocabulary"), "must hold 'recommender', 'vocab"),
        (lambda c: c.update(vocabulary={}), "must hold 'recommender', 'vocab"),
        (
            lambda c: c.update(format_version=torch.ones(2)),
            "must be of format_version 1",
        ),
        *(
            (
                lambda c, option=option: c["recommender"]["options"].update(
                    option
                ),
                message,
            )
            for option, message in (
                ({"channels": 10**13}, "must be those of LightGCN"),
                (
                    {"num_layers": 1.5},
                    "'num_layers' of LightGCN .* in '.*ckpt'",
                ),
                ({"sparse": 1}, "'sparse' of LightGCN must be of type bool"),
            )
        ),
        *(
            (
                lambda c, entry=entry: c["recommender"]["source"].update(entry),
                "must hold 'recommender'",
            )
            for entry in (
                {"k": "x"},
                {"modalities": 5},
                {"recall": "zz"},
                {"name": 5},
                {"root": ["x"]},
                {"zero_rows": []},
            )
        ),
    ],
)
def test_odd_entries(
    tmp_path: Path, source: DatasetOptions, change: Any, message: str
) -> None:
    model = LightGCN.from_data(source.load()[0], channels=4)
    Recommender(model, source.load(), source).save(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=message) as error:
        Recommender.load(tmp_path / "a.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("cls", [LightGCN, EASE, ItemKNN])
def test_weights_that_are_not_finite(
    tmp_path: Path, source: DatasetOptions, cls: Any, value: float
) -> None:
    data = ToRecGraph()(source.load()[0])
    model = cls.from_data(data)
    model.fit(data)
    Recommender(model, source.load(), source).save(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    name = [key for key in checkpoint["state_dict"] if "weight" in key][-1]
    checkpoint["state_dict"][name][-1, -1] = value
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=rf"a\.ckpt' must .* in '{name}'"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_model_and_another_data_set(
    tmp_path: Path, source: DatasetOptions
) -> None:
    """A trained or loaded model knows what it belongs to."""
    trained = make_module(source).model
    Recommender(trained, source.load(), source).save(tmp_path / "a.ckpt")
    loaded = Recommender.load(tmp_path / "a.ckpt").model
    mine = source.load().fingerprint
    write_files(tmp_path / "data", seed=1)
    other = source.load()
    for model in (trained, loaded):
        with pytest.raises(ValueError, match=f"{mine}.*{other.fingerprint}"):
            Recommender(model, other)
    with pytest.raises(ValueError, match="'dataset' must be a data set"):
        Recommender.load(tmp_path / "a.ckpt", other[0])


def test_damaged_part(tmp_path: Path) -> None:
    """It is told by its own name, whatever the file was called at first."""
    path = tmp_path / "a.ckpt"
    weight = torch.arange(64.0)
    AtomicCheckpointIO().save_checkpoint({"x": weight}, path)
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum for its part 'data/0'"):
        read_checkpoint(path)

import csv
import importlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.transforms import FeatureGraph

pytest.importorskip("optuna")
sqlalchemy = pytest.importorskip("sqlalchemy")

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--channels", "8", "--epochs", "2", "--batch-size", "99", "--k", "5"]
SMALL += ["--accelerator", "cpu"]


class Small:
    """Stands for the synthetic data set."""

    def __init__(self, seed: int, poison: bool = False) -> None:
        self.data = SyntheticMultimodal(50, 60, seed=seed)[0]
        if poison:
            store = self.data["user", "interacts", "item"]
            user, item = store.test_edge_label_index
            store.test_edge_label_index = torch.stack([user, 59 - item])

    def __getitem__(self, index: int) -> Any:
        return self.data


@pytest.fixture(scope="module")
def accuracy() -> Iterator[ModuleType]:
    # Waiting for the disk takes most of the time of small searches.
    def hurry(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    engine = sqlalchemy.engine.Engine
    sqlalchemy.event.listen(engine, "connect", hurry)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        path = FOLDER / "accuracy.py"
        spec = importlib.util.spec_from_file_location("accuracy", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        patch.setattr(module, "SyntheticMultimodal", Small)
        yield module
    sqlalchemy.event.remove(engine, "connect", hurry)


def run(accuracy: ModuleType, out: Path, *args: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        argv = ["accuracy.py", "--out", str(out), *SMALL, *args]
        patch.setattr(sys, "argv", argv)
        accuracy.main()


def read(out: Path, label: str, seed: int = 0) -> Dict[str, Any]:
    return json.loads((out / label / f"seed_{seed}.json").read_text())


@pytest.fixture(scope="module")
def done(accuracy: ModuleType, tmp_path_factory: Any) -> Tuple[Path, List]:
    out = tmp_path_factory.mktemp("accuracy")
    args = ["--models", "MostPopular", "LightGCN", "TMFUN"]
    args += ["--seeds", "2", "--seeds-of", "LightGCN=1", "--budget", "2"]
    run(accuracy, out, *args)
    return out, args


@pytest.fixture
def copy(done: Tuple[Path, List], tmp_path: Path) -> Tuple[Path, List]:
    shutil.copytree(done[0], tmp_path / "copy")
    return tmp_path / "copy", done[1]


@pytest.fixture
def fits(
    accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> List[Tuple[Any, ...]]:
    """The arguments of all trainings."""
    calls: List[Tuple[Any, ...]] = []
    fit = accuracy.fit

    def count(*args: Any) -> Any:
        calls.append(args)
        return fit(*args)

    monkeypatch.setattr(accuracy, "fit", count)
    return calls


# Runs


@pytest.mark.parametrize("seed", [0, 1])
def test_run_is_a_plain_run(
    done: Tuple[Path, List], tmp_path: Path, seed: int
) -> None:
    found = read(done[0], "TMFUN", seed)
    data = FeatureGraph(5)(Small(0)[0])
    seed_everything(seed)
    params = dict(found["params"])
    lr = params.pop("lr")
    model = TMFUN.from_data(data, channels=8, **params)
    module = RecommenderModule(model, lr=lr)
    stopping, checkpoint = default_callbacks(str(tmp_path))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[stopping, checkpoint],
        logger=False,
    )
    trainer.fit(module, InteractionDataModule(data, 99, seed=seed))
    best = torch.load(checkpoint.best_model_path, weights_only=True)
    module.load_state_dict(best["state_dict"])

    assert found["val"] == evaluate(model, data, "val")
    assert found["test"] == evaluate(model, data, "test")
    assert found["best_epoch"] == best["epoch"]
    assert found["epochs"] == 2
    assert found["parameters"] == sum(p.numel() for p in model.parameters())


def test_files_of_a_run(done: Tuple[Path, List]) -> None:
    out = done[0]
    found = read(out, "TMFUN", 1)
    assert (found["model"], found["seed"]) == ("TMFUN", 1)
    assert set(found["hardware"]) >= {"cpu", "cores", "threads"}
    assert set(found["versions"]) >= {"torch", "optuna", "tmfun_pyg"}
    assert len(found["commit"]) > 6
    assert found["data"]["users"] == 50
    assert found["search"]["finished"] + found["search"]["pruned"] == 2
    assert found["arguments"]["batch_size"] == 99
    with np.load(out / "TMFUN" / "seed_1.npz", allow_pickle=False) as file:
        assert len(file["user"]) == len(file["recall"]) == len(file["ndcg"])
        for name in ("recall", "ndcg"):
            average = file[name].mean()
            expected = found["test"][f"{name}@20"]
            assert average == pytest.approx(expected, abs=1e-6)
    # One run of what has nothing to draw, and one as asked for:
    names = {str(p.relative_to(out)) for p in out.glob("*/seed_*.json")}
    seeds = {"TMFUN/seed_1", "TMFUN/seed_0", "LightGCN/seed_0"}
    assert names == {f"{n}.json" for n in seeds | {"MostPopular/seed_0"}}
    # Neither weights nor halves of files are left:
    left = {path.name.split(".")[-1] for path in out.rglob("*.*")}
    assert left == {"json", "npz", "db", "lock", "md", "csv", "png"}

    data = FeatureGraph(5)(Small(0)[0])
    expected = evaluate(MostPopular.from_data(data), data, "test")
    assert read(out, "MostPopular")["test"] == expected


def test_finished_runs_are_not_repeated(
    accuracy: ModuleType, copy: Tuple[Path, List], fits: List
) -> None:
    out, args = copy
    before = read(out, "TMFUN", 1)
    run(accuracy, out, *args)
    assert fits == []
    (out / "TMFUN" / "seed_1.json").unlink()
    run(accuracy, out, *args)
    assert [call[0] for call in fits] == ["TMFUN"]
    assert read(out, "TMFUN", 1)["test"] == before["test"]
    # More seeds, and a report alone:
    run(accuracy, out, *args, "--seeds-of", "LightGCN=2")
    assert [call[0] for call in fits] == ["TMFUN", "LightGCN"]
    (out / "results.md").unlink()
    run(accuracy, out, *args, "--seeds", "5", "--report")
    assert len(fits) == 2
    assert (out / "results.md").exists()


def test_other_conditions(
    accuracy: ModuleType, copy: Tuple[Path, List], fits: List
) -> None:
    out, _ = copy
    args = ["--models", "LightGCN", "--seeds", "1"]
    with pytest.raises(ValueError, match=r"--fresh.*found .*, expected"):
        run(accuracy, out, *args, "--budget", "2", "--patience", "1")
    other = ["--set", "LightGCN.num_layers=1"]
    with pytest.raises(ValueError, match=r"other params.*'num_layers': 1"):
        run(accuracy, out, *args, "--budget", "0", *other)
    assert fits == []
    run(accuracy, out, *args, "--budget", "0", *other, "--fresh")
    assert len(fits) == 1
    params = read(out, "LightGCN")["params"]
    assert params == {"lr": 2e-3, "reg_weight": 1e-4, "num_layers": 1}
    # A search of other settings starts anew:
    run(accuracy, out, *args, "--budget", "2", *other, "--fresh")
    # What ran above is not run again, if the search finds no better.
    assert len(fits) == 3 + (read(out, "LightGCN")["params"] != params)


def test_variants(accuracy: ModuleType, copy: Tuple[Path, List]) -> None:
    out, _ = copy
    args = ["--models", "TMFUN", "--budget", "0", "--seeds", "1"]
    args += ["--set", "TMFUN.attention=false", "--set", "TMFUN.lr=0.01"]
    args += ["--tag", "TMFUN-mean", "--modalities", "visual"]
    args += ["--shuffle-features", "3", "--keep"]
    run(accuracy, out, *args)
    found = read(out, "TMFUN-mean")
    assert found["params"]["attention"] is False
    assert found["params"]["lr"] == 0.01
    assert found["params"]["num_layers"] == 4
    assert list(found["data"]["modalities"]) == ["visual"]
    assert found["settings"]["shuffle_features"] == 3
    best = torch.load(out / "TMFUN-mean/seed_0/best.ckpt", weights_only=True)
    names = best["state_dict"]
    assert not any("attention" in name for name in names)
    assert not any("textual" in name for name in names)
    whole = read(out, "TMFUN")["data"]
    for key, same in (("interactions", True), ("features", False)):
        key = f"{key}_sha256"
        assert (found["data"][key] == whole[key]) == same
    # A variant of the reference is compared with it, but is no peer of it.
    paired = json.loads((out / "results.json").read_text())["paired"]
    assert "TMFUN-mean" in [test["label"] for test in paired["tests"]]
    assert paired["best_peer"] in ("LightGCN", "MostPopular")


def test_variant_with_the_parameters_found(
    accuracy: ModuleType, copy: Tuple[Path, List], fits: List
) -> None:
    out, _ = copy
    path = out / "TMFUN" / "seed_0.json"
    content = read(out, "TMFUN")
    content["params"]["content_weight"] = 0.7
    path.write_text(json.dumps(content))
    args = ["--models", "TMFUN", "--seeds", "1", "--tag", "x", "--params-of"]
    fixed = ["--set", "TMFUN.num_layers=1"]
    with pytest.raises(ValueError, match="holds no finished run of TMFUN"):
        run(accuracy, out, *args, "LightGCN", *fixed)
    (out / "TMFUN" / "seed_1.json").unlink()
    run(accuracy, out, *args, "TMFUN", *fixed)
    expected = {**content["params"], "num_layers": 1}
    assert read(out, "x")["params"] == expected
    assert len(fits) == 1


def test_features_are_shuffled_among_items(
    accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["accuracy.py", "--shuffle-features", "1", "--k", "5"]
    monkeypatch.setattr(sys, "argv", argv)
    data = accuracy.load_data(accuracy.parse_args())
    plain = Small(0)[0]
    order = []
    for name in ("x_visual", "x_textual"):
        x, y = data["item"][name], plain["item"][name]
        same = (x.unsqueeze(1) == y).all(dim=2)
        assert same.sum(dim=1).tolist() == [1] * 60
        order.append(same.int().argmax(dim=1).tolist())
    assert order[0] == order[1] != list(range(60))
    assert sorted(order[0]) == list(range(60))


def test_what_the_weights_do_not_hold(
    accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def other(*args: Any) -> Dict[str, float]:
        return {"recall@20": 0.9}

    monkeypatch.setattr(accuracy, "evaluate", other)
    args = ["--models", "LightGCN", "--budget", "0"]
    with pytest.raises(RuntimeError, match="missing in its state_dict"):
        run(accuracy, tmp_path, *args)
    assert list(tmp_path.glob("*/*.json")) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "TMFUN.heads"], "expected MODEL.OPTION=JSON"),
        (["--set", "TMFUN.head=1"], "TMFUN has no option 'head', only "),
        (["--set", "TMFUN.attention=False"], "expected JSON such as"),
        (["--seeds-of", "TMFUN"], "expected MODEL=N"),
        (["--tag", "x"], "variant of one model"),
        (["--models", "TMFUN", "--tag", "a/b"], "expected letters"),
        (["--models", "LightGCN", "--seeds-of", "TMFUN=1"], "not among"),
    ],
)
def test_bad_arguments(
    accuracy: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    args: List[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        run(accuracy, tmp_path, *args)
    assert message in capsys.readouterr().err


def test_one_process_a_model(
    accuracy: ModuleType, tmp_path: Path, fits: List
) -> None:
    pytest.importorskip("fcntl")
    with accuracy.locked(tmp_path / "LightGCN" / "lock"):
        with pytest.raises(SystemExit, match="Another process"):
            run(accuracy, tmp_path, "--models", "LightGCN")
        run(accuracy, tmp_path, "--models", "MostPopular")
    assert fits == []


# The search


class Killed(BaseException):
    pass


class Kill(Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise Killed


def trials(path: Path, name: str = "LightGCN") -> List[Tuple[Any, ...]]:
    import optuna

    storage = f"sqlite:///{path}"
    study = optuna.load_study(study_name=name, storage=storage)
    return [
        (trial.params, trial.value)
        for trial in study.trials
        if trial.state.is_finished() and trial.state.name != "FAIL"
    ]


@pytest.mark.parametrize("victim", [1, 3])
def test_killed_search_goes_on(
    accuracy: ModuleType,
    tmp_path: Path,
    fits: List,
    monkeypatch: pytest.MonkeyPatch,
    victim: int,
) -> None:
    args = ["--models", "LightGCN", "--budget", "3", "--seeds", "1"]
    run(accuracy, tmp_path / "whole", *args)
    assert len(fits) == 4
    fits.clear()

    count = accuracy.fit

    def fit(*args: Any) -> Any:
        callbacks = args[-1]
        if len(fits) == victim - 1:
            callbacks = [*callbacks, Kill()]
        return count(*args[:-1], callbacks)

    with monkeypatch.context() as patch:
        patch.setattr(accuracy, "fit", fit)
        with pytest.raises(Killed):
            run(accuracy, tmp_path / "killed", *args)
    assert len(fits) == victim
    run(accuracy, tmp_path / "killed", *args)
    # Only the one that was killed was begun twice:
    assert len(fits) == 5
    assert fits[victim - 1][1] == fits[victim][1]

    expected = trials(tmp_path / "whole" / "studies.db")
    assert len(expected) == 3
    assert trials(tmp_path / "killed" / "studies.db") == expected
    whole = read(tmp_path / "whole", "LightGCN")
    killed = read(tmp_path / "killed", "LightGCN")
    for key in ("params", "search", "val", "test"):
        assert killed[key] == whole[key]
    # The first trial was that of the defaults:
    defaults = {"lr": 2e-3, "reg_weight": 1e-4, "num_layers": 3}
    assert expected[0][0] == defaults


def test_test_split_does_not_choose(
    accuracy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--models", "LightGCN", "--budget", "3", "--seeds", "1"]
    run(accuracy, tmp_path / "plain", *args)

    def poisoned(seed: int) -> Small:
        return Small(seed, poison=True)

    monkeypatch.setattr(accuracy, "SyntheticMultimodal", poisoned)
    run(accuracy, tmp_path / "poisoned", *args)
    plain = read(tmp_path / "plain", "LightGCN")
    found = read(tmp_path / "poisoned", "LightGCN")
    for key in ("params", "search", "val", "best_epoch", "epochs"):
        assert found[key] == plain[key]
    assert found["test"] != plain["test"]


class Stub:
    """What a trial reports to a callback, without a training."""

    def __init__(self, value: float, epoch: int) -> None:
        self.callback_metrics = {"val_recall@20": value}
        self.current_epoch = epoch


def test_search_never_tries_the_same_twice(
    accuracy: ModuleType, tmp_path: Path
) -> None:
    search = importlib.import_module("_search").search
    space = {"a": [1, 2, 3], "b": [0.1, None]}
    tried = []

    def objective(params: Dict[str, Any], callbacks: List) -> float:
        tried.append(params)
        return params["a"] + (params["b"] is None)

    defaults = {"a": 2, "b": 0.1}
    path = tmp_path / "studies.db"
    found = search(path, "x", space, defaults, 4, {}, objective)
    assert (len(tried), found["finished"]) == (4, 4)
    # A larger budget goes on; the choices are six in all.
    found = search(path, "x", space, defaults, 100, {}, objective)
    assert tried[0] == defaults
    assert len(tried) == found["finished"] == 6
    assert all(params not in tried[:i] for i, params in enumerate(tried))
    assert found["params"] == {"a": 3, "b": None}
    assert found["value"] == 4
    # A smaller one takes what it would have found.
    found = search(path, "x", space, defaults, 1, {}, objective)
    assert found["params"] == defaults
    assert len(tried) == 6


def test_bad_trials_are_pruned(accuracy: ModuleType, tmp_path: Path) -> None:
    module = importlib.import_module("_search")
    epochs: Dict[int, int] = {}

    def objective(params: Dict[str, Any], callbacks: List) -> float:
        weights = torch.nn.Linear(1, 1)
        for epoch in range(25):
            epochs[params["a"]] = epoch
            callbacks[0].on_validation_start(None, weights)
            callbacks[0].on_validation_end(Stub(-params["a"], epoch), None)
            if params["a"] == 7:
                weights.bias.data.fill_(torch.nan)  # A divergence.
        return -params["a"]

    space = {"a": list(range(8))}
    path = tmp_path / "studies.db"
    found = module.search(path, "x", space, {"a": 0}, 8, {}, objective)
    assert found["params"] == {"a": 0}
    assert found["finished"] + found["pruned"] == 8
    assert epochs.pop(7) == 1
    # Others after as many epochs as every trial has:
    assert set(epochs.values()) == {module.WARM_UP, 24}


# The comparison


def test_table(accuracy: ModuleType, done: Tuple[Path, List]) -> None:
    out = done[0]
    content = json.loads((out / "results.json").read_text())
    rows = {row["label"]: row for row in content["models"]}
    assert set(rows) == {"MostPopular", "LightGCN", "TMFUN"}
    runs = [read(out, "TMFUN", seed) for seed in (0, 1)]
    with (out / "results.csv").open(newline="") as file:
        table = {row["label"]: row for row in csv.DictReader(file)}
    for key in ("recall@10", "recall@50", "ndcg@20"):
        values = [one["test"][key] for one in runs]
        expected = {"mean": mean(values), "std": stdev(values)}
        assert rows["TMFUN"][f"test_{key}"] == pytest.approx(expected)
        for what in ("mean", "std"):
            cell = float(table["TMFUN"][f"test_{key}_{what}"])
            assert cell == pytest.approx(expected[what])
    values = [one["val"]["recall@20"] for one in runs]
    assert rows["TMFUN"]["val_recall@20"]["std"] == stdev(values)
    assert rows["LightGCN"]["test_recall@20"]["std"] is None
    assert table["LightGCN"]["test_recall@20_std"] == ""

    text = (out / "results.md").read_text()
    best = content["paired"]["best_peer"]
    peers = [rows["LightGCN"], rows["MostPopular"]]
    best_row = max(peers, key=lambda row: row["val_recall@20"]["mean"])
    assert best == best_row["label"]
    assert f"The best peer by validation is {best}." in text
    value = rows["TMFUN"]["test_recall@20"]
    assert f"| {value['mean']:.4f} ± {value['std']:.4f} |" in text
    layers = ", ".join(map(str, accuracy.MODELS["TMFUN"]["num_layers"]))
    assert f"num_layers: {layers}" in text
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")

    # The paired test is over users, each averaged over the seeds:
    test = next(
        test
        for test in content["paired"]["tests"]
        if test["label"] == "LightGCN"
    )
    expected = rows["TMFUN"]["test_ndcg@20"]["mean"]
    expected -= rows["LightGCN"]["test_ndcg@20"]["mean"]
    assert test["ndcg"]["mean"] == pytest.approx(expected, abs=1e-6)


def test_only_one_split_in_a_table(
    accuracy: ModuleType, copy: Tuple[Path, List]
) -> None:
    out, args = copy
    path = out / "LightGCN" / "seed_0.json"
    content = json.loads(path.read_text())
    content["data"]["interactions_sha256"] = "0"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"the split of .* can't be compared"):
        run(accuracy, out, *args, "--report")


def test_without_matplotlib(
    accuracy: ModuleType,
    copy: Tuple[Path, List],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, args = copy
    (out / "results.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run(accuracy, out, *args, "--report")
    assert 'pip install "tmfun-pyg[plot]"' in capsys.readouterr().out
    assert not (out / "results.png").exists()


def test_report_of_nothing(accuracy: ModuleType, tmp_path: Path) -> None:
    run(accuracy, tmp_path, "--report")
    assert "No run is finished" in (tmp_path / "results.md").read_text()


def test_paired_bootstrap(accuracy: ModuleType) -> None:
    bootstrap = importlib.import_module("_report").paired_bootstrap
    same, better, worse = bootstrap(np.array([[0.0, 0.5, -0.5]] * 8))
    assert same == {"mean": 0, "low": 0, "high": 0, "p": 1}
    assert better["p"] == worse["p"] == 2 / 10_001
    for found, value in ((better, 0.5), (worse, -0.5)):
        for key in ("mean", "low", "high"):
            assert found[key] == value

    # Two users: the mean of a resample is 0, 1/2 or 1 with probability 1/4,
    # 1/2 and 1/4. Shifted by -1/4, it is not above zero with 1/4.
    one, shifted = bootstrap(np.array([[0.0, -0.25], [1.0, 0.75]]))
    assert (one["mean"], one["low"], one["high"]) == (0.5, 0, 1)
    assert one["p"] == pytest.approx(0.5, abs=0.02)
    assert (shifted["low"], shifted["high"]) == (-0.25, 0.75)
    assert shifted["p"] == pytest.approx(0.5, abs=0.02)


def test_paired_bootstrap_of_many_users(accuracy: ModuleType) -> None:
    module = importlib.import_module("_report")
    rng = np.random.default_rng(1)
    difference = rng.normal(0.1, 1.0, (500, 1))
    (found,) = module.paired_bootstrap(difference)
    # The normal approximation:
    error = difference.std() / 500**0.5
    for key, sign in (("low", -1.96), ("high", 1.96)):
        expected = difference.mean() + sign * error
        assert found[key] == pytest.approx(expected, abs=0.1 * error)
    # In blocks that do not divide the number of resamples, and with a seed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_COUNTS", 500 * 77)
        (other,) = module.paired_bootstrap(difference)
    assert other == pytest.approx(found)

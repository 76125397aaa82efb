import importlib
import json
import shutil
import sys
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import optuna
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from tmfun_pyg import baselines
from tmfun_pyg.baselines import MostPopular, WithContent
from tmfun_pyg.datasets import SyntheticMultimodal
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import TMFUN
from tmfun_pyg.training import (
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
    search_spaces,
)
from tmfun_pyg.transforms import FeatureGraph, ToRecGraph

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
            other = torch.stack([user, 59 - item])
            trained = 60 * store.edge_index[0] + store.edge_index[1]
            is_new = ~torch.isin(60 * other[0] + other[1], trained)
            store.test_edge_label_index = other[:, is_new]

    def __getitem__(self, index: int) -> Any:
        return self.data


@pytest.fixture(scope="module")
def accuracy() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        options = importlib.import_module("_options")
        patch.setattr(options, "SyntheticMultimodal", Small)
        yield importlib.import_module("accuracy")


def run(accuracy: ModuleType, out: Path, *args: str) -> None:
    """Runs on the synthetic data, whose results come to the folder out."""
    assert out.name == "synthetic"
    with pytest.MonkeyPatch.context() as patch:
        script = str(FOLDER / "accuracy.py")
        argv = [script, "--out", str(out.parent), *SMALL, *args]
        patch.setattr(sys, "argv", argv)
        accuracy.main()


def read(out: Path, label: str, seed: int = 0) -> Dict[str, Any]:
    return json.loads((out / label / f"seed_{seed}.json").read_text())


@pytest.fixture(scope="module")
def done(accuracy: ModuleType, tmp_path_factory: Any) -> Tuple[Path, List]:
    out = tmp_path_factory.mktemp("accuracy") / "synthetic"
    args = ["--models", "MostPopular", "LightGCN", "TMFUN"]
    args += ["--seeds", "2", "--budget", "2"]
    run(accuracy, out, *args)
    return out, args


@pytest.fixture
def copy(done: Tuple[Path, List], tmp_path: Path) -> Tuple[Path, List]:
    shutil.copytree(done[0], tmp_path / "copy" / "synthetic")
    return tmp_path / "copy" / "synthetic", done[1]


@pytest.fixture
def fits(
    accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> List[Tuple[Any, ...]]:
    """The arguments of all trainings."""
    calls: List[Tuple[Any, ...]] = []
    train = accuracy.Runs.train

    def count(runs: Any, name: str, *args: Any) -> Any:
        if name != "MostPopular":
            calls.append((name, *args))
        return train(runs, name, *args)

    monkeypatch.setattr(accuracy.Runs, "train", count)
    return calls


# Runs


@pytest.mark.parametrize("seed", [0, 1])
def test_run_is_a_plain_run(
    done: Tuple[Path, List], tmp_path: Path, seed: int
) -> None:
    found = read(done[0], "TMFUN", seed)
    data = ToRecGraph()(FeatureGraph(k=5)(Small(0)[0]))
    seed_everything(seed)
    params = dict(found["params"])
    lr = params.pop("lr")
    model = TMFUN.from_data(data, **params)
    module = RecommenderModule(model, data, lr=lr)
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
    assert set(found["versions"]) >= {"torch", "lightning", "tmfun_pyg"}
    assert len(found["commit"]) > 6
    assert found["data"]["users"] == 50
    assert found["search"]["trials"] == 2
    assert found["settings"]["batch_size"] == 99
    assert "--batch-size 99" in found["command"]
    place = f"python benchmarks/accuracy.py --out {out.parent} "
    assert found["command"].startswith(place)
    with np.load(out / "TMFUN" / "seed_1.npz", allow_pickle=False) as file:
        assert len(file["user"]) == len(file["recall"]) == len(file["ndcg"])
        for name in ("recall", "ndcg"):
            average = file[name].mean()
            expected = found["test"][f"{name}@20"]
            assert average == pytest.approx(expected, abs=1e-6)
    # One run of what has nothing to draw:
    names = {str(p.relative_to(out)) for p in out.glob("*/seed_*.json")}
    seeds = {f"{n}/seed_{s}" for n in ("TMFUN", "LightGCN") for s in (0, 1)}
    assert names == {f"{n}.json" for n in seeds | {"MostPopular/seed_0"}}
    # Neither weights nor halves of files are left:
    left = {path.name.split(".")[-1] for path in out.rglob("*.*")}
    assert left == {"db", "json", "lock", "npz", "md", "png"}
    assert not [path for path in out.glob("*/*") if path.is_dir()]

    data = ToRecGraph()(Small(0)[0])
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
    run(accuracy, out, *args, "--models", "LightGCN", "--seeds", "3")
    assert [call[0] for call in fits] == ["TMFUN", "LightGCN"]
    (out / "results.md").unlink()
    run(accuracy, out, *args, "--seeds", "5", "--report")
    assert len(fits) == 2
    assert (out / "results.md").exists()


def test_other_conditions(
    accuracy: ModuleType,
    copy: Tuple[Path, List],
    fits: List,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, _ = copy
    args = ["--models", "LightGCN", "--seeds", "1"]
    other = ["--set", "LightGCN.num_layers=1"]
    for budget, what in (("0", "seed_0.json"), ("2", "studies.db: LightGCN")):
        message = rf"{what} must .* with the settings.*got"
        with pytest.raises(ValueError, match=message):
            run(accuracy, out, *args, "--budget", budget, "--patience", "1")
        message = rf"{what} must .* with the params.*'num_layers': 1"
        with pytest.raises(ValueError, match=message):
            run(accuracy, out, *args, "--budget", budget, *other)
    with monkeypatch.context() as patch:
        patch.setitem(search_spaces.SPACES, "LightGCN", {"lr": [0.01]})
        with pytest.raises(
            ValueError, match=r"LightGCN must .* with the space"
        ):
            run(accuracy, out, *args, "--budget", "2")
    assert fits == []
    shutil.rmtree(out / "LightGCN")
    run(accuracy, out, *args, "--budget", "0", *other)
    assert len(fits) == 1
    params = read(out, "LightGCN")["params"]
    assert params == {
        **{"lr": 2e-3, "softmax_negatives": 0, "reg_weight": 1e-4},
        **{"num_layers": 1, "channels": 8},
    }


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
    assert "TMFUN-mean" in paired["tests"]
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
    with pytest.raises(ValueError, match="hold a finished run of TMFUN"):
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
    monkeypatch.setattr(sys, "argv", [*argv, "--out", "nowhere"])
    data = accuracy.load_data(accuracy.parse_args(), "synthetic")
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

    runs = importlib.import_module("_runs")
    monkeypatch.setattr(runs, "evaluate", other)
    args = ["--models", "LightGCN", "--budget", "0"]
    with pytest.raises(RuntimeError, match="missing in the state_dict"):
        run(accuracy, tmp_path / "synthetic", *args)
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "TMFUN.attention"], "is not MODEL.OPTION=JSON"),
        (["--set", "TMFUN.head=1"], "TMFUN has no option 'head', only "),
        (
            ["--set", "TMFUN.attention=False"],
            "TMFUN.attention=False: Expecting value",
        ),
        (["--tag", "x"], "variant of one model"),
        (["--models", "TMFUN", "--tag", "LightGCN"], "variant of one"),
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
        run(accuracy, tmp_path / "synthetic", *args)
    assert message in capsys.readouterr().err


def test_one_process_a_model(
    accuracy: ModuleType, tmp_path: Path, fits: List
) -> None:
    with accuracy.locked(tmp_path / "synthetic/LightGCN/lock"):
        with pytest.raises(OSError, match="another process is at work"):
            run(accuracy, tmp_path / "synthetic", "--models", "LightGCN")
        run(accuracy, tmp_path / "synthetic", "--models", "MostPopular")
    assert fits == []


# The search


class Killed(BaseException):
    pass


class Kill(Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise Killed


def states(out: Path, name: str = "LightGCN") -> List[str]:
    storage = f"sqlite:///{out / 'studies.db'}"
    study = optuna.load_study(study_name=name, storage=storage)
    return [trial.state.name for trial in study.trials]


def trials(out: Path, name: str = "LightGCN") -> List[Tuple[Any, ...]]:
    """What was tried, its course and its value."""
    storage = f"sqlite:///{out / 'studies.db'}"
    study = optuna.load_study(study_name=name, storage=storage)
    return [
        (trial.params, trial.intermediate_values, trial.value)
        for trial in study.trials
        if trial.state.name in ("COMPLETE", "PRUNED")
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
    run(accuracy, tmp_path / "whole" / "synthetic", *args)
    assert len(fits) == 4
    fits.clear()

    count = accuracy.Runs.train

    def train(*args: Any) -> Any:
        kill = [Kill()] if len(fits) == victim - 1 else []
        return count(*args, *kill)

    with monkeypatch.context() as patch:
        patch.setattr(accuracy.Runs, "train", train)
        with pytest.raises(Killed):
            run(accuracy, tmp_path / "killed" / "synthetic", *args)
    assert len(fits) == victim
    run(accuracy, tmp_path / "killed" / "synthetic", *args)
    # Only the one that was killed was begun twice:
    assert len(fits) == 5
    assert fits[victim - 1][1] == fits[victim][1]

    expected = trials(tmp_path / "whole" / "synthetic")
    assert len(expected) == 3
    assert trials(tmp_path / "killed" / "synthetic") == expected
    # Apart from choices that were drawn again:
    found = states(tmp_path / "killed" / "synthetic")
    assert sorted({*found}) == ["COMPLETE", "FAIL"]
    assert found.index("FAIL") <= victim - 1
    whole = read(tmp_path / "whole" / "synthetic", "LightGCN")
    killed = read(tmp_path / "killed" / "synthetic", "LightGCN")
    for key in ("params", "search", "val", "test"):
        assert killed[key] == whole[key]
    # The first trial was that of the defaults:
    assert expected[0][0] == {
        **{"lr": 2e-3, "softmax_negatives": 0, "reg_weight": 1e-4},
        **{"num_layers": 3, "channels": 8},
    }
    # The best epoch of the best of them was taken:
    for _, curve, value in expected:
        assert list(curve) == [0, 1]
        assert value == pytest.approx(max(curve.values()))
    params, _, value = max(expected, key=lambda trial: trial[2])
    assert whole["params"] == params
    assert whole["val"]["recall@20"] == pytest.approx(value)


def test_test_split_does_not_choose(
    accuracy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--models", "LightGCN", "--budget", "3", "--seeds", "1"]
    run(accuracy, tmp_path / "plain" / "synthetic", *args)

    def poisoned(seed: int) -> Small:
        return Small(seed, poison=True)

    options = importlib.import_module("_options")
    monkeypatch.setattr(options, "SyntheticMultimodal", poisoned)
    run(accuracy, tmp_path / "poisoned" / "synthetic", *args)
    plain = read(tmp_path / "plain" / "synthetic", "LightGCN")
    found = read(tmp_path / "poisoned" / "synthetic", "LightGCN")
    for key in ("params", "search", "val", "best_epoch", "epochs"):
        assert found[key] == plain[key]
    assert found["test"] != plain["test"]


# Methods in closed form


@pytest.mark.parametrize("name", ["EASE", "GFCF", "IALS", "ItemKNN", "RP3beta"])
def test_closed_form(accuracy: ModuleType, tmp_path: Path, name: str) -> None:
    out = tmp_path / "synthetic"
    args = ["--budget", "2", "--seeds", "2", "--models"]
    with pytest.raises(ValueError, match=rf"a finished run of {name} \(got no"):
        run(accuracy, out, *args, f"{name}+content")
    run(accuracy, out, *args, name, f"{name}+content")
    base, fused = read(out, name), read(out, f"{name}+content")
    # The better one of two trials, the first with the defaults:
    assert len(trials(out, name)) == len(trials(out, f"{name}+content")) == 2
    for run_, label in ((base, name), (fused, f"{name}+content")):
        values = [value for _, _, value in trials(out, label)]
        assert run_["val"]["recall@20"] == pytest.approx(max(values))
        assert run_["search"]["trials"] == 2
        assert run_["model"] == label
        assert (run_["epochs"], run_["best_epoch"]) == (0, None)
        assert not (out / label / "seed_1.json").exists()
    assert trials(out, f"{name}+content")[0][0] == {"content_weight": 0.3}
    data = ToRecGraph()(FeatureGraph(k=5)(Small(0)[0]))
    params = fused["params"]
    assert params["base"] == name
    assert params["base_options"] == base["params"]
    for cls, found in ((getattr(baselines, name), base), (WithContent, fused)):
        model = cls.from_data(data, **found["params"])
        model.fit(data)
        expected = evaluate(model, data, "test")
        assert found["test"] == pytest.approx(expected, abs=1e-6)


# The comparison


def test_table(accuracy: ModuleType, done: Tuple[Path, List]) -> None:
    out = done[0]
    content = json.loads((out / "results.json").read_text())
    rows = {row["label"]: row for row in content["models"]}
    assert set(rows) == {"MostPopular", "LightGCN", "TMFUN"}
    text = (out / "results.md").read_text()
    runs = [read(out, "TMFUN", seed) for seed in (0, 1)]
    for title, split, key in (
        ("test R@10", "test", "recall@10"),
        ("test N@50", "test", "ndcg@50"),
        ("validation R@20", "val", "recall@20"),
    ):
        values = [one[split][key] for one in runs]
        expected = {"mean": mean(values), "std": stdev(values)}
        assert rows["TMFUN"]["metrics"][title] == pytest.approx(expected)
        assert f"| {mean(values):.4f} ± {stdev(values):.4f} |" in text
    popular = rows["MostPopular"]["metrics"]["test R@20"]
    assert popular["std"] is None
    assert f"| {popular['mean']:.4f} |" in text

    best = content["paired"]["best_peer"]
    peers = [rows["LightGCN"], rows["MostPopular"]]
    title = "validation R@20"
    best_row = max(peers, key=lambda row: row["metrics"][title]["mean"])
    assert best == best_row["label"]
    assert f"The best peer by validation is {best}." in text
    layers = ", ".join(map(str, search_spaces.SPACES["TMFUN"]["num_layers"]))
    assert f"num_layers: {layers}" in text
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")

    # The paired test is over users, each averaged over the seeds:
    found = content["paired"]["tests"]["LightGCN"]["ndcg"]
    expected = rows["TMFUN"]["metrics"]["test N@20"]["mean"]
    expected -= rows["LightGCN"]["metrics"]["test N@20"]["mean"]
    assert found["mean"] == pytest.approx(expected, abs=1e-6)
    assert f"{found['mean']:+.4f} [{found['low']:+.4f}, " in text


def test_without_the_metrics_of_users(
    accuracy: ModuleType, copy: Tuple[Path, List]
) -> None:
    out, args = copy
    best = json.loads((out / "results.json").read_text())["paired"]["best_peer"]
    for label, left in ((best, 1), ("TMFUN", 0)):
        (out / label / "seed_0.npz").unlink()
        run(accuracy, out, *args, "--report")
        paired = json.loads((out / "results.json").read_text())["paired"]
        assert len(paired.get("tests", {})) == left
        assert paired.get("best_peer") == (best if left else None)
        text = (out / "results.md").read_text()
        (line,) = [x for x in text.splitlines() if x.startswith("Not tested")]
        shown = label if left else "any model, since TMFUN has none"
        assert line.endswith(f"for lack of their seed_<n>.npz: {shown}.")


def test_only_one_split_in_a_table(
    accuracy: ModuleType, copy: Tuple[Path, List]
) -> None:
    out, args = copy
    path = out / "LightGCN" / "seed_0.json"
    content = json.loads(path.read_text())
    content["data"]["interactions_sha256"] = "0"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must hold runs of one split"):
        run(accuracy, out, *args, "--report")


def test_without_matplotlib(
    accuracy: ModuleType,
    copy: Tuple[Path, List],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, args = copy
    (out / "results.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(accuracy, out, *args, "--report")
    assert 'pip install "tmfun-pyg[plot]"' in capsys.readouterr().out
    assert not (out / "results.png").exists()


def test_report_of_nothing(accuracy: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hold finished runs \(got none\)"):
        run(accuracy, tmp_path / "synthetic", "--report")


def test_paired_bootstrap(accuracy: ModuleType) -> None:
    bootstrap = importlib.import_module("_paired").paired_bootstrap
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
    bootstrap = importlib.import_module("_paired").paired_bootstrap
    rng = np.random.default_rng(1)
    difference = rng.normal(0.1, 1.0, (500, 1))
    (found,) = bootstrap(difference)
    # The normal approximation:
    error = difference.std() / 500**0.5
    for key, sign in (("low", -1.96), ("high", 1.96)):
        expected = difference.mean() + sign * error
        assert found[key] == pytest.approx(expected, abs=0.1 * error)


def test_holm(accuracy: ModuleType) -> None:
    holm = importlib.import_module("_paired").holm
    # Sorted: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04, which is not less
    # than the one before.
    found = holm([0.01, 0.04, 0.03, 0.005])
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.7, 0.9]) == [1.0, 1.0, 1.0]
    assert holm([0.2]) == [0.2]


# Several data sets


def test_mean_ranks_and_ratios(accuracy: ModuleType) -> None:
    summary = importlib.import_module("_summary")
    values = {
        "a": {"x": 0.4, "y": 0.1, "z": 0.2},
        "b": {"x": 0.2, "y": 0.2, "z": 0.2},
        "c": {"x": 0.1, "y": 0.4, "z": 0.1},
        "d": {"x": 0.9},  # Has no rank.
    }
    # On z, two share the ranks 1 and 2.
    assert summary.mean_ranks(values) == pytest.approx(
        {"a": (1 + 3 + 1.5) / 3, "b": (2 + 2 + 1.5) / 3, "c": (3 + 1 + 3) / 3}
    )
    # The best of b and c: 0.2, 0.4, 0.2.
    assert summary.ratios_to_best(values, {"b", "c"}) == pytest.approx(
        {
            "a": (2 * (1 / 4) * 1) ** (1 / 3),
            "b": (1 * (1 / 2) * 1) ** (1 / 3),
            "c": ((1 / 2) * 1 * (1 / 2)) ** (1 / 3),
        }
    )
    assert summary.ratios_to_best(values, {"d"}) == {}


def test_several_sets(
    accuracy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(root: str, name: str, zero_rows: str) -> Small:
        assert (root, zero_rows) == ("root", "mask")
        return Small({"one": 1, "two": 2}[name])

    options = importlib.import_module("_options")
    monkeypatch.setattr(options, "MultimodalRecDataset", load)
    models = ["MostPopular", "LightGCN", "EASE", "EASE+content"]
    command = ["accuracy.py", "--root", "root", "--out", str(tmp_path), *SMALL]
    command += ["--budget", "1", "--seeds", "2", "--data", "one", "two"]
    command += ["--reference", "LightGCN", "--models", *models]
    monkeypatch.setattr(sys, "argv", command)
    accuracy.main()
    for name in ("one", "two"):
        assert read(tmp_path / name, "LightGCN", 1)["data"]["name"] == name
        assert (tmp_path / name / "studies.db").exists()
    content = json.loads((tmp_path / "results.json").read_text())
    text = (tmp_path / "results.md").read_text()
    assert content["data"] == ["one", "two"]
    for metric, key in (("Recall@20", "recall@20"), ("NDCG@20", "ndcg@20")):
        found = content[metric]
        assert set(found["mean_rank"]) == set(models)
        assert sum(found["mean_rank"].values()) == 1 + 2 + 3 + 4
        for name in ("one", "two"):
            runs = [read(tmp_path / name, "LightGCN", s) for s in (0, 1)]
            values = [run["test"][key] for run in runs]
            value = found["values"]["LightGCN"][name]
            assert value["mean"] == mean(values)
            cell = f"{mean(values):.4f} ± {stdev(values):.4f}"
            (line,) = [
                line
                for line in text.split(f"## {metric}")[1].splitlines()[:8]
                if line.startswith("| LightGCN |")
            ]
            assert cell in line
        assert f"{found['mean_rank']['LightGCN']:.2f}" in line
        assert f"{found['ratio_to_best_simple']['LightGCN']:.2f}" in line
    for name in ("one", "two"):
        paired = content["paired"][name]
        own = json.loads((tmp_path / name / "results.json").read_text())
        assert paired == own["paired"]
        tests = [
            test
            for found in paired["tests"].values()
            for test in found.values()
        ]
        assert len(tests) == 2 * 3
        holm = importlib.import_module("_paired").holm
        corrected = holm([test["p"] for test in tests])
        assert [test["p_holm"] for test in tests] == corrected
        test = paired["tests"]["EASE"]["recall"]
        assert f"{test['mean']:+.4f} ({test['p_holm']:.4f})" in text
        seconds = content["seconds_to_best"]
        run = read(tmp_path / name, "EASE", 0)
        assert seconds["EASE"][name] == run["seconds"]
        runs = [read(tmp_path / name, "LightGCN", s) for s in (0, 1)]
        assert seconds["LightGCN"][name] == pytest.approx(
            mean(
                run["seconds"] * (run["best_epoch"] + 1) / run["epochs"]
                for run in runs
            )
        )
        assert (tmp_path / name / "results.png").exists()

    # A report alone is of what there is, and a model that lacks a data set
    # has no rank.
    shutil.rmtree(tmp_path / "two" / "EASE+content")
    (tmp_path / "results.md").unlink()
    monkeypatch.setattr(sys, "argv", [*command, "--report"])
    monkeypatch.setattr(options, "MultimodalRecDataset", None)
    accuracy.main()
    text = (tmp_path / "results.md").read_text()
    (line,) = [
        line
        for line in text.split("## NDCG@20")[0].splitlines()
        if line.startswith("| EASE+content |")
    ]
    assert line.endswith("|  |  |  |")
    content = json.loads((tmp_path / "results.json").read_text())
    assert set(content["Recall@20"]["mean_rank"]) == set(models[:3])

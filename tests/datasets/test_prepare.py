import csv
import json
import os
import sys
from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.datasets import MultimodalRecDataset, TikTok, prepare
from tmfun_pyg.datasets.prepare_report import (
    FEW_USERS,
    suspect_features,
    suspect_full_users,
    suspect_singles,
    suspect_users,
)

pytest.importorskip("pyarrow")
from_interactions = MultimodalRecDataset.from_interactions

SPLITS = ("edge_index", "val_edge_label_index", "test_edge_label_index")
ITEMS = ["007", "7", "日本", "tab\there", 'a "b"', *map(str, range(20, 45))]
USERS = ["00", "Ünal", "x y", *(f"u{i}" for i in range(17))]


def make_log(items=ITEMS, users=USERS, num_rows=300):
    rng = np.random.default_rng(0)
    pair = rng.permutation(len(users) * len(items))[:num_rows]
    return pd.DataFrame(
        {
            "user_id": np.array(users, dtype=object)[pair // len(items)],
            "item_id": np.array(items, dtype=object)[pair % len(items)],
            "time": rng.permutation(num_rows),
        }
    )


def write_csv(path, log):
    log.to_csv(path, index=False)
    return path


def assert_same(read, expected):
    assert read.user_ids.tolist() == expected.user_ids.tolist()
    assert read.item_ids.tolist() == expected.item_ids.tolist()
    for kind in ("user_ids", "item_ids"):
        kinds = [getattr(d, kind).dtype.kind for d in (read, expected)]
        assert kinds[0] == kinds[1]
    assert sorted(read.modalities) == sorted(expected.modalities)
    a, b = read[0], expected[0]
    for split in SPLITS:
        store = a["user", "item"]
        assert torch.equal(store[split], b["user", "item"][split])
    assert set(a["item"].keys()) == set(b["item"].keys())
    for key, value in b["item"].items():
        same = a["item"][key]
        assert same == value if key == "num_nodes" else same.equal(value)


@pytest.fixture
def files(tmp_path):
    """Features of each kind: their paths, and the same in memory."""
    rng = np.random.default_rng(1)
    known = sorted(ITEMS)
    some = [*rng.permutation(known[3:]), "cold ❄", "999"]
    matrix = {
        "aligned": rng.standard_normal((30, 3)),
        "named": rng.standard_normal((29, 4)).astype(np.float16),
        "lists": rng.standard_normal((29, 2)),
        "columns": rng.standard_normal((29, 2)),
    }
    for name in ("aligned", "named"):
        np.save(tmp_path / f"{name}.npy", matrix[name])
    (tmp_path / "named_ids.txt").write_text("\n".join(some), "utf-8")
    pd.DataFrame({"v": list(matrix["lists"]), "item_id": some}).to_parquet(
        tmp_path / "lists.parquet"
    )
    frame = pd.DataFrame(matrix["columns"], columns=["a", "b"])
    frame["b"] = matrix["columns"][:, 1] = np.arange(29) + 1
    # An index that pandas writes along is no feature.
    frame = frame.assign(item_id=some, b=frame["b"].astype(int))
    frame.set_index(np.arange(29)[::-1]).to_parquet(
        tmp_path / "columns.parquet"
    )
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in (("007", "aabc"), ("日本", "cb"), ("new", "b é")):
        (texts / f"{name}.txt").write_text(text, "utf-8")
    paths = {
        name: str(tmp_path / f"{name}.npy") for name in ("aligned", "named")
    }
    for name in ("lists", "columns"):
        paths[name] = str(tmp_path / f"{name}.parquet")
    paths["texts"] = str(texts)
    memory = {name: (some, value) for name, value in matrix.items()}
    memory["aligned"] = matrix["aligned"]
    counts = np.array([[2.0, 1, 1], [0, 1, 1], [0, 1, 0]])
    memory["texts"] = (["007", "日本", "new"], counts)
    return paths, memory


@pytest.mark.parametrize(
    "kwargs",
    [
        {"split": "random", "seed": 3, "ratios": (0.6, 0.2, 0.2)},
        {"split": "leave_last_out", "time_col": "time", "k_core": 8},
        {"split": "global_time", "time_col": "time"},
    ],
)
def test_round_trip(tmp_path, files, encoder, kwargs):
    log = make_log()
    path = write_csv(tmp_path / "log.csv", log)
    paths, memory = files
    report = prepare(
        path, tmp_path / "out", "own", paths, encoder=encoder, **kwargs
    )
    read = MultimodalRecDataset(tmp_path / "out", "own", zero_rows="mask")
    expected = from_interactions(log, memory, **kwargs)
    assert_same(read, expected)
    assert {"007", "日本"} <= set(read.item_ids)
    assert "mask_texts" in read[0]["item"]
    assert report.items == len(expected.item_ids)
    assert (report.dropped["items"] > 0) == ("k_core" in kwargs)
    assert sorted(os.listdir(tmp_path / "out")) == ["own"]
    with open(tmp_path / "out" / "own" / "report.json") as f:
        assert json.load(f) == asdict(report)


def test_modalities_are_optional(tmp_path):
    path = write_csv(tmp_path / "log.csv", make_log())
    prepare(path, tmp_path, "own")
    read = MultimodalRecDataset(tmp_path, "own", modalities=[])
    assert_same(read, from_interactions(path, {}))


@pytest.mark.parametrize("as_text", [False, True])
def test_integers_are_compared_as_written(tmp_path, as_text):
    log = make_log(items=[int(i) for i in range(30)])
    if as_text:
        log["item_id"] = log["item_id"].map(str)
    log.to_parquet(tmp_path / "log.parquet")
    matrix = np.random.default_rng(0).random((31, 2))
    np.save(tmp_path / "npy.npy", matrix)
    ids = [str(i) for i in range(31)]
    (tmp_path / "rows.txt").write_text("\n".join(ids) + "\n")
    frame = pd.DataFrame(matrix).rename(columns=str)
    # Of the other type than the log's.
    frame["item_id"] = range(31) if as_text else ids
    frame.to_parquet(tmp_path / "table.parquet")
    paths = {
        "npy": str(tmp_path / "npy.npy"),
        "table": str(tmp_path / "table.parquet"),
    }
    prepare(
        tmp_path / "log.parquet",
        tmp_path,
        "own",
        paths,
        feature_ids={"npy": str(tmp_path / "rows.txt")},
    )
    read = MultimodalRecDataset(tmp_path, "own")
    assert read.item_ids.dtype.kind == ("U" if as_text else "i")
    for name in paths:
        x = read[0]["item"][f"x_{name}"].numpy()
        rows = read.item_ids.astype(np.int64)
        assert np.array_equal(x, matrix.astype(np.float32)[rows])


def test_integers_as_text(tmp_path):
    log = make_log(items=list(range(30)))
    path = write_csv(tmp_path / "log.csv", log)
    np.save(tmp_path / "m.npy", np.arange(1.0, 32)[:, None])
    ids = [str(i) for i in range(31)]
    (tmp_path / "m_ids.txt").write_text("\n".join(ids))
    features = {"m": str(tmp_path / "m.npy")}
    prepare(path, tmp_path, "own", features, id_type="str")
    read = MultimodalRecDataset(tmp_path, "own")
    assert read.item_ids.tolist() == sorted(ids)
    x = read[0]["item"].x_m.flatten().tolist()
    assert x == [int(i) + 1 for i in read.item_ids]
    expected = from_interactions(path, {}, id_type="str")
    assert read.user_ids.tolist() == expected.user_ids.tolist()


def test_recbole_file(tmp_path):
    log = make_log().rename(
        columns={
            "user_id": "user_id:token",
            "item_id": "item_id:token",
            "time": "timestamp:float",
        }
    )
    path = tmp_path / "log.inter"
    # Such files have no quotation, and so no tabs in a field:
    log = log.replace(r"\t", " ", regex=True)
    log.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONE)
    kwargs = {"time_col": "timestamp", "split": "global_time"}
    report = prepare(path, tmp_path, "own", **kwargs)
    read = MultimodalRecDataset(tmp_path, "own", modalities=[])
    assert_same(read, from_interactions(path, {}, **kwargs))
    assert report.settings == {
        "split": "global_time",
        "k_core": 0,
        "ratios": [0.8, 0.1, 0.1],
    }


def test_given_split_is_kept(tmp_path):
    log = make_log().assign(x_label=np.arange(300) % 4 % 3)
    path = write_csv(tmp_path / "log.csv", log)
    report = prepare(path, tmp_path, "own")
    assert report.settings == {"split": "given", "k_core": 0}
    assert report.splits == {"training": 150, "validation": 75, "test": 75}
    read = MultimodalRecDataset(tmp_path, "own", modalities=[])
    assert_same(read, from_interactions(log, {}, split="given"))
    report = prepare(path, tmp_path, "drawn", split="random", seed=4)
    assert report.settings["seed"] == 4
    assert report.splits == {"training": 240, "validation": 30, "test": 30}


def test_published_data_come_back(tmp_path, real_data):
    folder = real_data / "tiktok"
    features = {
        name: str(folder / f"{name}_feat.npy") for name in ("audio", "image")
    }
    report = prepare(folder / "tiktok.inter", tmp_path, "tiktok", features)
    assert_same(TikTok(tmp_path), TikTok(real_data))
    assert list(report.splits.values()) == [59_541, 3_051, 6_130]


# Users: a 4, b 3, c 2 (once more: 1), d 1. Items: p 4, q 3, r 2, s 1.
LOG = [
    *("a p 0", "a q 0", "a r 1", "a s 2"),
    *("b p 0", "b q 1", "b r 2"),
    *("c p 1", "c q 0", "c q 0"),
    "d p 0",
]


def write_small(path):
    rows = [row.split() for row in LOG]
    columns = ["user_id", "item_id", "x_label"]
    return write_csv(path, pd.DataFrame(rows, columns=columns))


def test_numbers_of_the_report(tmp_path):
    path = write_small(tmp_path / "log.csv")
    matrix = np.array([[3.0, 4], [0, 2], [1, 0], [6, 8], [0, -1]])
    np.save(tmp_path / "m.npy", matrix)
    (tmp_path / "m.ids.txt").write_text("p\nq\nr\ncold\nfrost\n")
    features = {"m": str(tmp_path / "m.npy")}
    with pytest.warns(UserWarning, match="has 1 duplicate"):
        report = prepare(path, tmp_path, "own", features)
    assert asdict(report) == {
        "name": "own",
        "settings": {"split": "given", "k_core": 0},
        "users": 4,
        "items": 6,
        "interactions": 10,
        "density": 10 / 24,
        "splits": {"training": 5, "validation": 3, "test": 2},
        "per_user": {"median": 2.5, "most": 4, "share_with_one": 0.25},
        "per_item": {"median": 2.5, "most": 4, "share_with_one": 0.25},
        "judged": {"validation": 3, "test": 2},
        "untrained_users": 0,
        "untrained_items": 2,
        "cold_items": 2,
        "duplicates": 1,
        "dropped": {"users": 0, "items": 0, "interactions": 0},
        "modalities": {
            "m": {
                "features": 2,
                "raw_features": 2,
                "present": 5,
                "trained": 2,
                "missing": 1,
                "smallest_norm": 1.0,
                "median_norm": 2.0,
                "largest_norm": 10.0,
            }
        },
        "item_table": {},
        "ignored": [],
        "assumed": [],
        "suspicious": [
            "validation can judge only 3 users (fewer than 100)",
            "test can judge only 2 users (fewer than 100)",
            "1 user(s) with all 2 items of training, such as 'a': leave them "
            "out to train with negatives",
            "modality 'm': only 2 column(s) (fewer than 3); of rows, which are "
            "standardized, a sign is left",
        ],
    }
    text = str(report)
    for part in (
        "own (split='given', k_core=0)",
        "4 users, 6 items, 10 interactions (5 training, 3 validation, 2 test)",
        "per item: median 2.5, most 4, 25.0% of the items with one; 2 items",
        "with training and held-out interactions: 3 validation, 2 test",
        "no interaction: 2",
        "repeated interactions, dropped: 1",
        "modality 'm': 2 features of 5 items, 1 without; norms 1 to 10, med",
    ):
        assert part in text
    assert "assumed" not in text

    with pytest.warns(UserWarning, match="has 1 duplicate"):
        report = prepare(path, tmp_path, "core", features, k_core=2)
    # d goes, then s; r stays with a and b.
    assert report.dropped == {"users": 1, "items": 1, "interactions": 2}
    assert (report.users, report.items, report.cold_items) == (3, 5, 2)
    assert report.modalities["m"]["missing"] == 0


def test_suspicious_features_are_told(tmp_path):
    path = write_csv(tmp_path / "log.csv", make_log())
    rng = np.random.default_rng(0)
    known = sorted(ITEMS)
    plain = rng.standard_normal((30, 4))
    constant = plain.copy()
    constant[:, [1, 3]] = 0.5
    twins = plain.copy()
    twins[[9, 20, 21]] = twins[5]
    flat = plain.copy()
    flat[[4, 6]] = [[2.5], [-1]]
    values = {
        "constant": constant,
        "flat": flat,
        "one": plain[:, :1],
        "two": plain[:, :2],
        "narrow": plain + 20,
        "plain": plain,
        "twins": twins,
    }
    for name, value in values.items():
        np.save(tmp_path / f"{name}.npy", value)
    np.save(tmp_path / "sparse.npy", plain)
    ids = [*known[:14], *(f"other {i}" for i in range(16))]
    (tmp_path / "sparse_ids.txt").write_text("\n".join(ids))
    features = {
        name: str(tmp_path / f"{name}.npy") for name in (*values, "sparse")
    }
    report = prepare(path, tmp_path, "own", features)
    unit = (plain + 20) / np.linalg.norm(plain + 20, axis=1, keepdims=True)
    cosine = (unit @ unit.T)[~np.eye(30, dtype=bool)].mean()
    assert report.suspicious[2:] == [
        "modality 'constant': 2 of 4 features are constant, such as feature 1",
        f"modality 'flat': 2 of 30 items have the same number in all columns, "
        f"such as '{known[4]}'; of such rows, standardized, nothing is left",
        "modality 'one': only 1 column(s) (fewer than 3); of rows, which are "
        "standardized, nothing is left",
        "modality 'two': only 2 column(s) (fewer than 3); of rows, which are "
        "standardized, a sign is left",
        f"modality 'narrow': the mean cosine of two items is {cosine:.3f}",
        f"modality 'twins': 4 of 30 items have the features of another, such "
        f"as '{known[5]}' and '{known[9]}'",
        "modality 'sparse': only 14 of 30 items with interactions have it "
        "(ids of another log?)",
    ]
    assert f"suspicious: {report.suspicious[2]}" in str(report)
    assert report.assumed == [
        f"modality '{name}': its rows, which have no ids, are in the sorted "
        f"order of the log's item ids: 007, 20, 21, ..., 日本"
        for name in values
    ]
    assert f"\nassumed: {report.assumed[0]}\n" in str(report)


def test_order_of_integers(tmp_path):
    path = write_csv(tmp_path / "log.csv", make_log(items=range(8, 38)))
    np.save(tmp_path / "m.npy", np.eye(30))
    report = prepare(path, tmp_path, "own", {"m": str(tmp_path / "m.npy")})
    (line,) = report.assumed
    assert line.endswith("order of the log's item ids: 8, 9, 10, ..., 37")


@pytest.mark.parametrize("none", ["validation", "test"])
def test_splits_that_judge_nobody(tmp_path, none):
    """Users who come one after the other in time."""
    log = pd.DataFrame({"user_id": np.repeat(range(5), 10), "time": range(50)})
    log["item_id"] = range(50)
    if none == "test":  # One of those for training is there for validation.
        log.loc[0, "time"] = 35
    write_csv(tmp_path / "log.csv", log)
    with pytest.raises(
        ValueError, match=rf"'split' must .* {none} \(got 'global_time', which"
    ):
        prepare(
            tmp_path / "log.csv",
            tmp_path,
            "own",
            time_col="time",
            split="global_time",
            ratios=(0.6, 0.2, 0.2),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_users_that_can_be_judged(tmp_path):
    # All users have training interactions, all but the last held-out ones.
    rows = [
        (f"u{user}", item, label)
        for user in range(FEW_USERS + 1)
        for item, label in ((user, 0), (user + 1, 1), (user + 2, 2))
        if user < FEW_USERS or label < 2
    ]
    rows += [("new", 0, 1), ("new", 1, 2)]  # Judged by neither.
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "x_label"])
    path = write_csv(tmp_path / "log.csv", log)
    report = prepare(path, tmp_path, "own")
    assert report.judged == {"validation": FEW_USERS + 1, "test": FEW_USERS}
    assert report.suspicious == []
    path = write_csv(path, log[log["user_id"] != "u0"])
    report = prepare(path, tmp_path, "less")
    assert report.suspicious == [
        "test can judge only 99 users (fewer than 100)"
    ]


@pytest.mark.parametrize("dtype", [bool, int])
def test_multi_hot_features(tmp_path, dtype):
    path = write_csv(tmp_path / "log.csv", make_log())
    known = sorted(ITEMS)
    matrix = np.eye(30, dtype=dtype)
    frame = pd.DataFrame(matrix).rename(columns=str)
    frame["0"] = frame["0"].astype(int)  # Beside booleans.
    frame.assign(item_id=known).to_parquet(tmp_path / "columns.parquet")
    lists = pd.DataFrame({"item_id": known, "v": list(matrix)})
    lists.to_parquet(tmp_path / "lists.parquet")
    np.save(tmp_path / "rows.npy", matrix)
    features = {
        name.partition(".")[0]: str(tmp_path / name)
        for name in ("columns.parquet", "lists.parquet", "rows.npy")
    }
    prepare(path, tmp_path, "own", features)
    item = MultimodalRecDataset(tmp_path, "own")[0]["item"]
    for name in features:
        assert torch.equal(item[f"x_{name}"], torch.eye(30)), name


def test_suspicious_features_of_present_items_alone():
    # One item alone has nothing to be compared with.
    matrix, ids = np.ones((1, 3), np.float32), np.array(["a"])
    assert suspect_features("m", ids, matrix, np.full(1, 3**0.5)) == []


def test_suspicious_times(tmp_path):
    log = make_log()
    log["time"] += 1_600_000_000
    log.loc[:99, "time"] *= 1000
    path = write_csv(tmp_path / "log.csv", log)
    kwargs = {"time_col": "time", "split": "leave_last_out"}
    report = prepare(path, tmp_path, "own", **kwargs)
    assert report.suspicious[-2:] == [
        "times seem to be in several units (200 in seconds, 100 in "
        "milliseconds), and are ordered as if they were in one",
        "20 of the log's 20 users with several interactions have all of them "
        "on one date: which is the last, for leave_last_out, depends on the "
        "time of day",
    ]


def test_suspicious_columns():
    once, twice = np.array([0, 1, 1]), np.array([1, 2, 0])
    assert suspect_singles(twice, twice) == []
    (text,) = suspect_singles(twice, once)
    assert text.startswith("no item has more than one interaction (is this")
    assert len(suspect_singles(once, once)) == 2


def test_suspicious_users():
    ids = np.array(list("abcdef"))
    # Exactly a hundred times the median is not more than that.
    assert suspect_users(ids, np.array([2, 3, 300, 3, 3, 3])) == []
    assert suspect_users(ids, np.array([2, 3, 302, 301, 3, 3])) == [
        "2 user(s) with more than 100 times the median of 3 interactions, "
        "such as 'c' with 302 (49.2% of all)"
    ]


def test_users_with_all_items():
    ids = np.array(list("abc"))
    assert suspect_full_users(ids, np.array([2, 3, 0]), 4) == []
    assert suspect_full_users(ids, np.array([2, 4, 4]), 4) == [
        "2 user(s) with all 4 items of training, such as 'b': leave them out "
        "to train with negatives"
    ]


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "log.csv", make_log())
    out = tmp_path / "out"
    prepare(path, out, "own")
    before = (out / "own" / "own.inter").read_bytes()
    with pytest.raises(ValueError, match="own' already exists; pass over"):
        prepare(path, out, "own", seed=1)

    def fail(*args, **kwargs):
        raise OSError("no space left")

    with monkeypatch.context() as context:
        context.setattr(json, "dump", fail)
        for name in ("own", "new"):
            with pytest.raises(OSError, match="no space left"):
                prepare(path, out, name, seed=1, overwrite=True)
    assert os.listdir(out) == ["own"]
    assert (out / "own" / "own.inter").read_bytes() == before

    # The old folder comes back if the new one cannot take its place.
    replace = os.replace

    def fail_once(source, target):
        if str(source).endswith(".part"):
            fail()
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", fail_once)
        with pytest.raises(OSError, match="no space left"):
            prepare(path, out, "own", seed=1, overwrite=True)
    assert os.listdir(out) == ["own"]
    assert (out / "own" / "own.inter").read_bytes() == before

    prepare(path, out, "own", seed=1, overwrite=True)
    assert os.listdir(out) == ["own"]
    assert (out / "own" / "own.inter").read_bytes() != before

    (out / "own" / "notes.md").write_text("mine")
    with pytest.raises(
        ValueError, match=r"own' must .* \(got \['notes\.md'\]\)"
    ):
        prepare(path, out, "own", overwrite=True)
    assert (out / "own" / "notes.md").exists()


def test_overwriting_leaves_no_old_features(tmp_path):
    path = write_csv(tmp_path / "log.csv", make_log())
    np.save(tmp_path / "m.npy", np.eye(30))
    prepare(path, tmp_path, "own", {"m": str(tmp_path / "m.npy")})
    prepare(path, tmp_path, "own", overwrite=True)
    assert not (tmp_path / "own" / "m_feat.npy").exists()


def npy(folder, ids=None, rows=30, name="m.npy"):
    np.save(folder / name, np.eye(rows, 30) + 1)
    if ids is not None:
        (folder / "m_ids.txt").write_text("\n".join(ids), "utf-8")
    return folder / name


def parquet(folder, **columns):
    pd.DataFrame(columns).to_parquet(folder / "m.parquet")
    return folder / "m.parquet"


def texts(folder, **content):
    path = folder / "texts"
    path.mkdir()
    for name, text in content.items():
        (path / name.replace("__", ".")).write_bytes(text)
    return path


def foreign(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


IDS = [str(i) for i in range(20, 50)]
LISTS = [[1.0, 2.0]] * 29


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f / "m.npy", "m.npy' does not exist"),
        (lambda f: f / "m.txt", r"'features' must be .*m.txt'\)"),
        (lambda f: f / "texts", "existing folders of .txt or .npy files"),
        (
            lambda f: npy(f, rows=29),
            r"must have 30 rows, .*log.csv' has items \(got 29\); if rows "
            r"are those of other items, list the item id of each row in "
            r"'.*/m_ids\.txt'$",
        ),
        (
            lambda f: npy(f, IDS[1:]),
            r"m_ids.txt' must have 30 item ids.* \(got 29\)",
        ),
        (
            lambda f: npy(f, [*IDS[:2], "", *IDS[3:]]),
            r"line 3 must be an id .* \(got an empty line",
        ),
        (lambda f: npy(f, IDS[:29] + IDS[:1]), r"must have each id once .* 20"),
        (
            lambda f: npy(f, [f"n{i}" for i in IDS]),
            "none of them with interactions",
        ),
        (lambda f: f / "m.parquet", "m.parquet' does not exist"),
        (
            lambda f: foreign(f, "m.parquet", b"text"),
            "m.parquet' must be a whole Parquet file",
        ),
        (
            lambda f: parquet(f, a=[1.0]),
            r"the column 'item_id' .* columns \['a'\]",
        ),
        (
            lambda f: parquet(f, item_id=IDS),
            r"numeric columns beside 'item_id' \(got none",
        ),
        (
            lambda f: parquet(f, item_id=IDS, a=IDS, b=[1.0] * 30),
            r"numeric columns beside 'item_id' \(got 'a' \((str|object)\)",
        ),
        (
            lambda f: parquet(f, item_id=IDS, a=[[1.0]] * 30, b=[1.0] * 30),
            r"\(got 'a' \(object\)",
        ),
        (
            lambda f: parquet(f, item_id=IDS, a=[True] * 29 + [None]),
            r"m.parquet', column 'a' must have a value .* \(row 29, ",
        ),
        (
            lambda f: parquet(f, item_id=IDS, v=[*LISTS, [1.0]]),
            "'v' must .*equal length .*2 numbers in row 0, and 1 in row 29",
        ),
        (
            lambda f: parquet(f, item_id=IDS, v=[*LISTS, None]),
            "'v' must have a value in every row .row 29,",
        ),
        (
            lambda f: parquet(f, item_id=IDS, v=[Decimal(1)] * 30),
            "'v' must have lists of numbers .*object",
        ),
        (
            lambda f: parquet(f, item_id=IDS, v=[["a", "b"]] * 30),
            "'v' must have lists of numbers .*object",
        ),
        (
            lambda f: parquet(f, item_id=IDS, v=[*LISTS, [1.0, None]]),
            r"m.parquet' must be finite .* 49",
        ),
        (
            lambda f: parquet(f, item_id=[], v=[]),
            r"m.parquet' must .*\(got 0 rows",
        ),
        (
            lambda f: parquet(f, item_id=[*IDS[1:], None], v=[1.0] * 30),
            "m.parquet', column 'item_id' must have an id",
        ),
        (lambda f: texts(f), r"texts' must .*\(got no file\)"),
        (lambda f: texts(f, a__txt=b"a", b__md=b""), r"\(got \['b.md'\]\)"),
        (lambda f: texts(f, a__txt=b"\xff"), r"a\.txt' must be text in UTF-8"),
        (lambda f: texts(f, a__txt=b" \n"), "texts' must .*only empty files"),
        (lambda f: texts(f, a__txt=b"a"), "'encoder' must be .*None"),
    ],
)
def test_bad_features(tmp_path, nothing_written, make, message):
    path = write_csv(tmp_path / "log.csv", make_log())
    features = {"m": str(make(tmp_path))}
    nothing_written()
    with pytest.raises(ValueError, match=message):
        prepare(path, tmp_path / "out", "own", features)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "a/b"}, "'name' must .*'a/b'"),
        ({"name": ".."}, r"'name' must .*'\.\.'"),
        ({"name": ""}, "'name' must .*''"),
        ({"features": {"a b": "x"}}, "'features' must .*'a b'"),
        ({"feature_ids": {"m": "x"}}, r"'feature_ids' must .*\['m'\]"),
        ({"zero_rows": "keep"}, "'zero_rows' must .*'keep'"),
        ({"split": "given"}, r"log.csv' must .* 'x_label' for split"),
        ({"user_col": "uid"}, r"log.csv' must .* user_col='uid' \(got"),
    ],
)
def test_bad_arguments(tmp_path, nothing_written, kwargs, message):
    path = write_csv(tmp_path / "log.csv", make_log())
    nothing_written()
    with pytest.raises(ValueError, match=message):
        prepare(path, tmp_path / "out", **{"name": "own", **kwargs})


def test_bad_ids(tmp_path, nothing_written):
    log = make_log()
    path = write_csv(tmp_path / "log.csv", log)
    features = {"m": str(npy(tmp_path, IDS))}
    (tmp_path / "m.ids.txt").write_text("\n".join(IDS))
    empty = log.assign(item_id=log["item_id"].replace("007", ""))
    empty.to_parquet(tmp_path / "log.parquet")
    table = {"m": str(parquet(tmp_path, item_id=IDS, v=[1.0] * 30))}
    numbers = make_log(list(range(30)), list(range(20)))
    numbers = write_csv(tmp_path / "numbers.csv", numbers)
    letters = npy(tmp_path, name="n.npy")
    ids = {"n": str(foreign(tmp_path, "n.txt", b"1\n" * 29 + b"B"))}
    nothing_written()
    out = tmp_path / "out"
    with pytest.raises(
        ValueError, match=r"m\.npy' must have one .*; name it in"
    ):
        prepare(path, out, "own", features)
    with pytest.raises(
        ValueError, match=r"'feature_ids' must .* for \.npy files only"
    ):
        prepare(path, out, "own", table, feature_ids=table)
    kwargs = {"feature_ids": ids, "id_type": "int"}
    with pytest.raises(ValueError, match=r"n\.txt' must .*64-bit .*'B' in row"):
        prepare(numbers, out, "own", {"n": str(letters)}, **kwargs)
    with pytest.raises(ValueError, match=r"log\.parquet', column 'item_id' "):
        prepare(tmp_path / "log.parquet", out, "own")


def test_empty_texts_lack_the_modality(tmp_path, encoder):
    path = write_csv(tmp_path / "log.csv", make_log())
    content = {"007__txt": b"ab", "20__txt": b" ", "cold__txt": b"c"}
    features = {"text": str(texts(tmp_path, **content))}
    kwargs = {"features": features, "encoder": encoder}
    with pytest.raises(ValueError, match=r"all-zero rows .*1 item\(s\): 20"):
        prepare(path, tmp_path, "own", **kwargs)
    report = prepare(path, tmp_path, "own", zero_rows="mask", **kwargs)
    assert report.modalities["text"]["present"] == 2
    dataset = MultimodalRecDataset(tmp_path, "own", zero_rows="mask")
    mask = dataset[0]["item"].mask_text.numpy()
    assert dataset.item_ids[mask].tolist() == ["007", "cold"]


def test_features_of_dropped_items_alone(tmp_path):
    log = make_log()
    rare = pd.DataFrame({"user_id": ["00"], "item_id": ["rare"], "time": [0]})
    path = write_csv(tmp_path / "log.csv", pd.concat([log, rare]))
    np.save(tmp_path / "m.npy", np.eye(2))
    (tmp_path / "m_ids.txt").write_text("rare\n007")
    np.save(tmp_path / "m.npy", np.array([[1.0], [0.0]]))
    features = {"m": str(tmp_path / "m.npy")}
    with pytest.raises(ValueError, match=r"m\.npy' must .*none for k_core=2"):
        prepare(path, tmp_path, "own", features, k_core=2, zero_rows="mask")


def test_without_sentence_transformers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    path = write_csv(tmp_path / "log.csv", make_log())
    features = {"text": str(texts(tmp_path, **{"007__txt": b"ab"}))}
    with pytest.raises(ImportError, match=r'install "tmfun-pyg\[encode\]"'):
        prepare(path, tmp_path, "own", features, encoder=str(tmp_path))


def test_times(tmp_path, monkeypatch):
    monkeypatch.setenv("TMFUN_CACHE", str(tmp_path / "cache"))
    log = make_log()
    log["time"] += 1_600_000_000
    kwargs = {"time_col": "time", "split": "leave_last_out"}
    path = write_csv(tmp_path / "log.csv", log)
    prepare(path, tmp_path, "toy", **kwargs)
    read = MultimodalRecDataset(tmp_path, "toy")
    user, item, seconds = read.interaction_times.numpy()
    pairs = zip(read.user_ids[user], read.item_ids[item], strict=True)
    found = dict(zip(pairs, seconds.tolist(), strict=True))
    rows = zip(log["user_id"], log["item_id"], strict=True)
    assert found == dict(zip(rows, log["time"], strict=True))
    expected = from_interactions(log, {}, **kwargs).interaction_times
    assert torch.equal(read.interaction_times, expected)

    times = tmp_path / "toy" / "interaction_times.npy"
    for wrong in (np.zeros(300), np.zeros(299, np.int64)):
        np.save(times, wrong)
        with pytest.raises(ValueError, match=r"_times\.npy' must hold 300"):
            MultimodalRecDataset(tmp_path, "toy")
    times.write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"_times\.npy' cannot be read"):
        MultimodalRecDataset(tmp_path, "toy")
    # Another log without times takes the place of it:
    prepare(path, tmp_path, "toy", overwrite=True)
    assert not times.exists()
    assert MultimodalRecDataset(tmp_path, "toy").interaction_times is None

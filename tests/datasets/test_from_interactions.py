import datetime
import gzip
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.datasets._split import global_time, leave_last_out, random_split
from tmfun_pyg.transforms import FeatureGraph

from_interactions = MultimodalRecDataset.from_interactions


def make_log(num_rows=300, num_users=20, num_items=30, seed=0):
    rng = np.random.default_rng(seed)
    pair = rng.permutation(num_users * num_items)[:num_rows]
    return pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in pair // num_items],
            "item_id": [f"B{i:03}" for i in pair % num_items],
            "time": rng.permutation(num_rows),
        }
    )


def pairs(dataset, split=None):
    """The (user id, item id) pairs of a split, or of all."""
    store = dataset[0]["user", "interacts", "item"]
    splits = {
        "train": store.edge_index,
        "val": store.val_edge_label_index,
        "test": store.test_edge_label_index,
    }
    chosen = splits.values() if split is None else [splits[split]]
    user, item = torch.cat(list(chosen), dim=1).numpy()
    return set(zip(dataset.user_ids[user], dataset.item_ids[item], strict=True))


def pairs_of(log):
    return set(zip(log["user_id"], log["item_id"], strict=True))


@pytest.mark.parametrize("split", ["random", "leave_last_out", "global_time"])
def test_ids_map_back(split):
    log = make_log()
    dataset = from_interactions(log, {}, split=split, time_col="time")
    assert isinstance(dataset, MultimodalRecDataset)
    assert pairs(dataset) == pairs_of(log)
    assert sum(len(pairs(dataset, s)) for s in ("train", "val", "test")) == 300
    assert dataset.user_ids.tolist() == sorted(set(log["user_id"]))
    assert dataset.item_ids.tolist() == sorted(set(log["item_id"]))
    dataset[0].validate(raise_on_error=True)
    edge_index = dataset[0]["user", "item"].edge_index
    key = edge_index[0] * 1000 + edge_index[1]
    assert bool((key.diff() > 0).all())


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda i: i - 5, "int64"),
        (lambda i: f"{i:03}", "str"),
        (lambda i: uuid.UUID(int=i), "str"),
        (lambda i: datetime.date(2020, 1, 1 + i), "str"),
    ],
)
def test_types_of_ids(make, dtype):
    log = make_log()
    ids = {name: make(i) for i, name in enumerate(log["item_id"].unique())}
    log["item_id"] = log["item_id"].map(ids)
    matrix = np.random.default_rng(0).random((len(ids), 3))
    dataset = from_interactions(log, {"m": (list(ids.values()), matrix)})
    if dtype == "str":
        log["item_id"] = log["item_id"].map(str)
    assert pairs(dataset) == pairs_of(log)
    assert np.issubdtype(dataset.item_ids.dtype, np.dtype(dtype).type)
    convert = int if dtype == "int64" else str
    for row, name in zip(matrix, ids.values(), strict=True):
        index = dataset.item_ids.tolist().index(convert(name))
        assert dataset[0]["item"].x_m[index].tolist() == pytest.approx(row)


def test_categories():
    log = make_log()
    expected = pairs_of(log)
    log[["user_id", "item_id"]] = log[["user_id", "item_id"]].astype("category")
    assert pairs(from_interactions(log, {})) == expected


@pytest.mark.parametrize("ids", ["007", "NA", "nan", "-0", "+1", "1e3", "1.5"])
def test_csv_ids_are_kept_as_written(tmp_path, ids):
    log = make_log()
    log["item_id"] = log["item_id"].str.removeprefix("B").astype(int)
    log["item_id"] = log["item_id"].astype(str).replace("0", ids)
    path = tmp_path / "log.csv"
    log.to_csv(path, index=False)
    assert pairs(from_interactions(path, {})) == pairs_of(log)


def test_csv_integers(tmp_path):
    log = make_log()
    log["item_id"] = log["item_id"].str.removeprefix("B").astype(int) - 3
    path = str(tmp_path / "log.csv")
    log.to_csv(path, index=False)
    dataset = from_interactions(path, {})
    assert dataset.item_ids.dtype == np.int64
    assert pairs(dataset) == pairs_of(log)


@pytest.mark.parametrize(
    "convert",
    [
        lambda time: time / 7,
        lambda time: pd.to_datetime(time, unit="D"),
        lambda time: pd.to_datetime(time, unit="D", utc=True),
        lambda time: pd.to_datetime(time, unit="D").dt.date,
        lambda time: pd.to_datetime(time, unit="D").dt.strftime("%Y-%m-%d"),
    ],
)
def test_types_of_times(convert):
    log = make_log()
    kwargs = {"time_col": "time", "split": "leave_last_out"}
    expected = pairs(from_interactions(log, {}, **kwargs), "test")
    log["time"] = convert(log["time"])
    assert pairs(from_interactions(log, {}, **kwargs), "test") == expected


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    log = make_log()
    log["time"] = pd.to_datetime(log["time"], unit="D")
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    kwargs = {"time_col": "time", "split": "global_time"}
    assert pairs(from_interactions(path, {}, **kwargs), "test") == pairs(
        from_interactions(log, {}, **kwargs), "test"
    )


def write_inter(path, log, header):
    log.to_csv(path, sep="\t", index=False, header=header)


def test_recbole_file(tmp_path):
    log = make_log()
    log["item_id"] = log["item_id"].replace("B000", "007 é")
    path = tmp_path / "log.inter"
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    write_inter(path, log.assign(time=log["time"] / 7), header)
    for split in ("leave_last_out", "global_time"):
        read = from_interactions(path, {}, split=split, time_col="timestamp")
        same = from_interactions(log, {}, split=split, time_col="time")
        assert pairs(read, "val") == pairs(same, "val")
        assert pairs(read) == pairs_of(log)

    write_inter(path, log, ["uid:token", "item_id:token", "t:float"])
    read = from_interactions(path, {}, user_col="uid")
    assert pairs(read) == pairs_of(log)
    write_inter(path, log, ["user_id:token", "item_id:token", "user_id"])
    with pytest.raises(ValueError, match=r"log\.inter' .* distinct names"):
        from_interactions(path, {})


def with_labels(**kwargs):
    log = make_log(**kwargs)
    return log.assign(x_label=np.arange(len(log)) % 4 % 3)


@pytest.mark.parametrize("names", [{}, {"user_col": "userID"}])
def test_mmrec_file(tmp_path, names):
    log = with_labels()
    for column, letter in (("user_id", "u"), ("item_id", "B")):
        log[column] = log[column].str.removeprefix(letter).astype(int)
    path = tmp_path / "log.inter"
    write_inter(path, log, ["userID", "itemID", "t", "x_label"])
    dataset = from_interactions(path, {}, split="given", **names)
    for label, split in enumerate(("train", "val", "test")):
        assert pairs(dataset, split) == pairs_of(log[log["x_label"] == label])
    # The split is not taken unasked.
    assert len(pairs(from_interactions(path, {}, **names), "test")) == 30


def test_given_split():
    log = with_labels()
    # Text is as good as numbers.
    log["x_label"] = log["x_label"].astype(str)
    dataset = from_interactions(log, {}, split="given")
    for label, split in zip("012", ("train", "val", "test"), strict=True):
        assert pairs(dataset, split) == pairs_of(log[log["x_label"] == label])

    # Repetitions count in their earliest split, whenever that was.
    again = log[log["x_label"] == "2"][:5].assign(x_label="1", time=1000)
    with pytest.warns(UserWarning, match="has 5 duplicate"):
        dataset = from_interactions(
            pd.concat([log, again]), {}, split="given", time_col="time"
        )
    expected = pairs_of(log[log["x_label"] == "1"]) | pairs_of(again)
    assert pairs(dataset, "val") == expected


def test_k_core_keeps_given_splits():
    log = with_labels(num_rows=150, num_items=40)
    dataset = from_interactions(log, {}, split="given", k_core=4)
    plain = from_interactions(log, {}, k_core=4)
    assert 0 < len(pairs(dataset)) < len(log)
    assert pairs(dataset) == pairs(plain)
    for label, split in enumerate(("train", "val", "test")):
        given = pairs_of(log[log["x_label"] == label])
        assert pairs(dataset, split) == given & pairs(plain)


def test_features_by_id():
    log = make_log()
    rng = np.random.default_rng(1)
    known = sorted(set(log["item_id"]))
    ids = [*known[5:], "cold-1", "A-cold-2"]
    order = rng.permutation(len(ids))
    visual = rng.standard_normal((len(ids), 4))
    aligned = torch.randn(len(known), 3, dtype=torch.bfloat16)
    dataset = from_interactions(
        log, {"visual": (np.array(ids)[order], visual[order]), "text": aligned}
    )
    assert dataset.modalities == ["visual", "text"]
    assert dataset.item_ids.tolist() == ["A-cold-2", *known, "cold-1"]
    item = dataset[0]["item"]
    assert item.mask_visual.tolist() == [True] + [False] * 5 + [True] * 26
    assert item.mask_text.tolist() == [False] + [True] * 30 + [False]
    assert not item.x_visual[1:6].any()
    place = [dataset.item_ids.tolist().index(name) for name in ids]
    assert np.array_equal(item.x_visual[place], visual.astype(np.float32))
    assert torch.equal(item.x_text[1:-1], aligned.float())
    # Cold items have no interactions, and the log is all there.
    assert pairs(dataset) == pairs_of(log)
    assert item.num_nodes == 32

    graph = FeatureGraph(k=2)(dataset[0])
    targets = graph["item", "similar_text", "item"].edge_index[1]
    assert targets.unique().tolist() == list(range(1, 31))


def test_zero_rows():
    log = make_log()
    ids = np.array(sorted(set(log["item_id"])))[::-1]
    matrix = np.ones((30, 2))
    matrix[3] = 0
    features = {"m": (ids, matrix)}
    with pytest.raises(
        ValueError, match=r"modality 'm' .* rows \(got 1 item\(s\): B026\)"
    ):
        from_interactions(log, features)
    dataset = from_interactions(log, features, zero_rows="mask")
    mask = dataset[0]["item"].mask_m.numpy()
    assert dataset.item_ids[~mask].tolist() == ["B026"]


def test_random_split():
    user = np.repeat(np.arange(500), np.arange(500) % 12 + 1)
    rng = np.random.default_rng(0)
    label = random_split(user, (0.7, 0.1, 0.2), rng)
    share = np.bincount(label) / len(user)
    assert share == pytest.approx([0.7, 0.1, 0.2], abs=1e-3)
    assert (np.bincount(user[label == 0], minlength=500) > 0).all()
    # Nothing but the guarantee decides: all users with more are alike.
    many = np.bincount(user)[user] == 12
    assert (label[many] == 0).mean() < 0.7

    # Too few to hold out 60 percent: what is free is shared.
    user = np.arange(100) // 2
    label = random_split(user, (0.4, 0.2, 0.4), rng)
    assert np.bincount(label).tolist() == [50, 17, 33]


def test_random_split_follows_seed():
    log = make_log()
    splits = [
        pairs(from_interactions(log, {}, seed=seed), "test")
        for seed in (1, 1, 2)
    ]
    assert splits[0] == splits[1] != splits[2]


def test_leave_last_out():
    user = np.array([0, 1, 0, 2, 0, 1, 0, 3, 3, 3])
    time = np.array([5, 1, 9, 0, 7, 2, 1, 4, 4, 4])
    label = leave_last_out(user, time)
    assert label.tolist() == [0, 0, 2, 0, 1, 2, 0, 0, 1, 2]


def test_global_time():
    time = np.array([9, 0, 1, 8, 2, 3, 7, 4, 5, 6])
    label = global_time(time, (0.6, 0.2, 0.2))
    assert label.tolist() == [2, 0, 0, 2, 0, 0, 1, 0, 0, 1]
    # One time, one split.
    time = np.array([0, 1, 2, 2, 2, 2, 3, 3, 3, 4])
    label = global_time(time, (0.5, 0.3, 0.2))
    assert label.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_repeated_interactions_are_kept_at_their_first_time():
    log = make_log()
    again = log[:50].assign(time=1000)
    both = pd.concat([again, log])
    kwargs = {"time_col": "time", "split": "leave_last_out"}
    with pytest.warns(UserWarning, match="'interactions' has 50 duplicate"):
        dataset = from_interactions(both, {}, **kwargs)
    assert dataset.num_duplicates == 50
    expected = from_interactions(log, {}, **kwargs)
    for split in ("train", "val", "test"):
        assert pairs(dataset, split) == pairs(expected, split)


def test_k_core():
    log = make_log(num_rows=150, num_items=40)
    kept = log
    while True:
        count = [kept.groupby(c).item_id.transform("size") for c in log][:2]
        enough = (count[0] >= 4) & (count[1] >= 4)
        if enough.all():
            break
        kept = kept[enough]
    assert 0 < len(kept) < len(log)

    known = sorted(set(log["item_id"]))
    matrix = np.arange(1.0, 1 + len(known))[:, None]
    features = {"a": matrix, "b": ([*known, "cold"], np.ones((41, 1)))}
    dataset = from_interactions(log, features, k_core=4)
    assert pairs(dataset) == pairs_of(kept)
    assert dataset.user_ids.tolist() == sorted(set(kept["user_id"]))
    # Dropped items do not come back as cold ones.
    assert dataset.item_ids.tolist() == [*sorted(set(kept["item_id"])), "cold"]
    for name, x in zip(
        dataset.item_ids[:-1], dataset[0]["item"].x_a[:-1], strict=True
    ):
        assert x.item() == known.index(name) + 1
    with pytest.raises(ValueError, match=r"'k_core' must .* \(got 50, "):
        from_interactions(log, {}, k_core=50)


def test_transforms():
    features = {"m": np.random.default_rng(0).random((30, 4))}
    edge_type = ("item", "similar_m", "item")
    for name in ("transform", "pre_transform"):
        dataset = from_interactions(
            make_log(), features, **{name: FeatureGraph(3)}
        )
        assert dataset[0][edge_type].edge_index.size(1) == 90
        assert (edge_type in dataset._data.edge_types) == (
            name == "pre_transform"
        )


def with_value(column, value, row=7):
    log = make_log()
    log[column] = log[column].astype(object)
    log.at[row, column] = value
    return log


@pytest.mark.parametrize(
    ("log", "kwargs", "message"),
    [
        (make_log()[:0], {}, "'interactions' must have rows"),
        ([(1, 2)], {}, r"'interactions' must be a pandas.* \(got a list\)"),
        (make_log(), {"user_col": "uid"}, r"\(s\) user_col='uid' \(got"),
        (
            make_log(),
            {"time_col": "when"},
            r"time_col='when' \(got the columns \['user_id', 'item_id', 'time'",
        ),
        (
            with_value("user_id", None),
            {},
            r"column 'user_id' must have an id .* \(row 7, ",
        ),
        (with_value("item_id", np.nan), {}, "'item_id' must have an id"),
        (
            make_log().assign(item_id=0.5),
            {},
            r"'item_id' must .*, not floating \(got '0.5' in row 0, ",
        ),
        (
            with_value("item_id", 3),
            {},
            r"'item_id' must .* not both .*id_type='str' reads",
        ),
        (
            with_value("item_id", 1.5),
            {},
            r"'item_id' must .* not both .*id_type='str' reads",
        ),
        (
            with_value("user_id", True),
            {},
            r"'user_id' must .* not both .*id_type='str' reads",
        ),
        (make_log(), {"k_core": -1}, r"'k_core' must not be .* \(got -1\)"),
        (make_log(), {"seed": -1}, r"'seed' must not be .* \(got -1\)"),
        (
            with_value("item_id", ["B1", "B2"]),
            {},
            r"'item_id' must .* \(got \['B1', 'B2'\] in row 7, ",
        ),
        (
            with_value("item_id", ("B1", "B2")),
            {},
            r"'item_id' must .* \(got \('B1', 'B2'\) in row 7, ",
        ),
        (
            with_value("item_id", "B\ud800"),
            {},
            r"'item_id' must .* lone surrogates .* \(got 'B\\ud800' in row 7, ",
        ),
        (
            with_value("item_id", ""),
            {},
            r"'item_id' must have an id in every row \(row 7, ",
        ),
        (
            with_value("item_id", "a\nb"),
            {},
            r"'item_id' must .* without line breaks.* \(got 'a\\nb' in row 7",
        ),
        (
            with_value("user_id", "u1 "),
            {},
            r"'user_id' must .* spaces around them \(got 'u1 ' in row 7",
        ),
        (make_log(), {"id_type": "text"}, "'id_type' must be .*'text'"),
        (
            with_value("time", None),
            {"time_col": "time"},
            r"column 'time' must have a time .* \(row 7, ",
        ),
        (
            with_value("time", "soon").astype(str),
            {"time_col": "time"},
            r"'time' must be finite .* or dates .* \(got 'soon' in row 7, ",
        ),
        (
            with_value("time", np.inf),
            {"time_col": "time"},
            r"'time' must be finite numbers .* \(got 'inf' in row 7, ",
        ),
        (
            make_log(),
            {"split": "last"},
            r"'split' must be one of .* \(got 'last'\)",
        ),
        (make_log(), {"split": "given"}, "'x_label' for split='given'"),
        (
            make_log().assign(x_label=[0, 1, 2] * 99 + [0, 3, 1]),
            {"split": "given"},
            r"'x_label' must be 0 \(training\).*'3' in row 298",
        ),
        (
            make_log().assign(x_label=["0", "train", "1"] * 100),
            {"split": "given"},
            r"'x_label' must be .* \(got 'train' in row 1, ",
        ),
        (
            make_log().assign(x_label=0),
            {"split": "given"},
            "'interactions' must have at least one validation",
        ),
        (
            make_log(),
            {"split": "global_time"},
            "'time_col' must be .*global_time",
        ),
        (make_log(), {"ratios": (0.8, 0.2)}, "'ratios' must be three"),
        (make_log(), {"ratios": (0.8, 0.2, 0.0)}, "'ratios' must be three"),
        (make_log(), {"ratios": (0.8, 0.2, 0.2)}, "'ratios' must be three"),
        (
            pd.DataFrame({"user_id": [5, 7], "item_id": [1, 1]}),
            {},
            r"'interactions' must have at least one validation interaction "
            r"\(got none by split='random', of 2 users with 2 interactions\)",
        ),
        (
            make_log(),
            {"zero_rows": "drop"},
            r"'zero_rows' must be .* \(got 'drop'\)",
        ),
    ],
)
def test_bad_interactions(log, kwargs, message):
    with pytest.raises(ValueError, match=message):
        from_interactions(log, {}, **kwargs)


IDS = [f"B{i:03}" for i in range(30)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.ones((29, 2)),
            r"must have 30 rows, as many as 'interactions' has items \(got "
            r"29\); if rows .* other items, pass a pair \(item_ids, matrix\)$",
        ),
        (
            (IDS, np.ones((29, 2))),
            r"must have 30 rows, as many as item_ids \(got 29\)$",
        ),
        ((IDS, np.ones((30, 2)), 1), "a tuple of 3"),
        ([[1.0]] * 29 + [[1.0, 2.0]], r"dense matrix \(got a list: "),
        (torch.ones(30, 2).to_sparse(), r"dense matrix \(got a Tensor: "),
        (({1, 2}, np.ones((30, 2))), r"item_ids must be a list .* a set\)"),
        (
            ([*IDS[1:], "\ud800"], np.ones((30, 2))),
            "item_ids must have ids without .* lone surrogates",
        ),
        ((IDS, np.ones(30)), r"must have the shape .*\[30\]"),
        (np.full((30, 2), "1"), "must hold numbers .*<U1"),
        (torch.ones(30, 2, dtype=torch.cfloat), "must hold numbers .*complex"),
        (
            (["B003", *IDS[1:]], np.ones((30, 2))),
            r"item_ids must have each id once .*1 item\(s\): B003",
        ),
        (
            ([None, *IDS[1:]], np.ones((30, 2))),
            "item_ids must have an id in every row",
        ),
        (
            (IDS[::-1], np.diag([np.inf] + [1.0] * 29)),
            r"must be finite .* 1 item\(s\): B029",
        ),
        (
            ([f"C{i}" for i in range(30)], np.ones((30, 2))),
            "item ids of 'interactions' such as 'B000' .*'C0', none",
        ),
        (
            (range(30), np.ones((30, 2))),
            r"must have item ids .*\(got ids such as '0',",
        ),
    ],
)
def test_bad_features(value, message):
    with pytest.raises(
        ValueError, match="'features', modality 'm'.*" + message
    ):
        from_interactions(make_log(), {"m": value})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([1], r"be a dictionary .* \(got a list\)"),
        (None, r"be a dictionary .* \(got a NoneType\)"),
        ({1: np.ones((30, 2))}, r"have names of .* \(got 1\)"),
        ({"a.b": np.ones((30, 2))}, r"have names of .* \(got 'a\.b'\)"),
    ],
)
def test_features_by_no_modality(features, message):
    with pytest.raises(ValueError, match="^'features' must " + message):
        from_interactions(make_log(), features)


def integer_log():
    log = make_log()
    log["item_id"] = log["item_id"].str.removeprefix("B").astype(int)
    return log


def test_item_ids_of_features_are_those_of_the_log_as_text():
    matrix = np.arange(1.0, 31)[:, None]
    ids = [str(i) for i in range(30)]
    dataset = from_interactions(integer_log(), {"m": (ids, matrix)})
    assert dataset.item_ids.tolist() == list(range(30))
    assert dataset[0]["item"].x_m.flatten().tolist() == matrix[:, 0].tolist()
    log = integer_log().astype({"item_id": str})
    dataset = from_interactions(log, {"m": (range(30), matrix)})
    assert dataset.item_ids.tolist() == sorted(ids)
    found = dict(zip(dataset.item_ids, dataset[0]["item"].x_m, strict=True))
    assert [found[i].item() for i in ids] == matrix[:, 0].tolist()


def test_integers_in_the_log_and_letters_in_the_catalogue():
    log = integer_log()
    matrix = np.arange(1.0, 31)[:, None]
    ids = [*map(str, range(29)), "new-7"]
    features = {"aligned": matrix, "named": (ids, matrix)}
    dataset = from_interactions(log, features)
    assert dataset.item_ids.tolist() == sorted([*ids, "29"])
    assert pairs(dataset) == pairs_of(log.astype({"item_id": str}))
    x = dataset[0]["item"].x_named.flatten().tolist()
    expected = dict(zip(ids, matrix[:, 0], strict=True)) | {"29": 0}
    assert dict(zip(dataset.item_ids, x, strict=True)) == expected
    # Rows without ids are in the order of the log's integers:
    x = dataset[0]["item"].x_aligned.flatten().tolist()
    expected = {str(i): i + 1.0 for i in range(30)} | {"new-7": 0}
    assert dict(zip(dataset.item_ids, x, strict=True)) == expected
    with pytest.raises(ValueError, match=r"64-bit .*'new-7' in row 29, "):
        from_interactions(log, features, id_type="int")


@pytest.mark.parametrize("convert", [float, "{}.0".format])
def test_whole_floats(convert):
    log = integer_log()
    features = {"m": ([convert(i) for i in range(30)], np.ones((30, 1)))}
    with pytest.raises(ValueError, match=r"m', item_ids .*'0.0' .*'int' reads"):
        from_interactions(log, features)
    expected = pairs_of(log)
    for column in (log["item_id"], log["item_id"].map(convert)):
        log["item_id"] = column
        dataset = from_interactions(log, features, id_type="int")
        assert pairs(dataset) == expected
    with pytest.raises(ValueError, match=r"'item_id' must .*'int' reads whole"):
        from_interactions(log, features)


@pytest.mark.parametrize("other", ["7.0", "7"])
def test_two_forms_of_an_integer(tmp_path, other):
    """They are one item if the type is given, and refused if it is not."""
    log = integer_log()
    expected = pairs_of(log)
    is_text = other != "7"  # Another "7" stands among integers.
    log["item_id"] = log["item_id"].astype(str if is_text else object)
    row = int(log["item_id"].astype(str).eq("7").argmax())
    log.loc[row, "item_id"] = other
    sources = [log]
    if is_text:
        sources.append(tmp_path / "log.csv")
        log.to_csv(sources[1], index=False)
    advice = "int" if is_text else "str"
    for source in sources:
        with pytest.raises(ValueError, match=rf"'item_id' .*'{advice}' reads"):
            from_interactions(source, {})
        dataset = from_interactions(source, {}, id_type="int")
        assert pairs(dataset) == expected
        dataset = from_interactions(source, {}, id_type="str")
        assert len(dataset.item_ids) == 30 + is_text


def test_two_forms_of_an_integer_in_features():
    ids = ["0.0", *map(str, range(1, 30))]
    features = {"m": (ids, np.ones((30, 1)))}
    with pytest.raises(ValueError, match=r"'0\.0' in row 0.*'int' reads"):
        from_interactions(integer_log(), features)
    dataset = from_interactions(integer_log(), features, id_type="int")
    assert dataset.item_ids.tolist() == list(range(30))
    ids[1] = "0"
    with pytest.raises(ValueError, match=r"each id once .*1 item\(s\): 0"):
        from_interactions(integer_log(), features, id_type="int")


@pytest.mark.parametrize(
    ("exact", "convert"),
    [
        (2**53, np.float64),
        (2**24, np.float32),
        (2**53, "{}.0".format),
        (2**53, float),
    ],
)
def test_floats_that_hold_no_integer(exact, convert):
    """From there on, several integers are one float."""
    log = integer_log()
    last = log["item_id"] + (exact - 30)
    log["item_id"] = pd.Series(
        [convert(i) for i in last], dtype=object if convert is float else None
    )
    dataset = from_interactions(log, {}, id_type="int")
    assert dataset.item_ids.tolist() == [exact - 30 + i for i in range(30)]
    log["item_id"] = pd.Series([convert(i + 1) for i in last])
    with pytest.raises(
        ValueError, match=rf"'item_id' must .* below {exact} .*{exact}\.0'"
    ):
        from_interactions(log, {}, id_type="int")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_integers_of_64_bits(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    log = integer_log()
    log["item_id"] += 2**63 - 30
    path = tmp_path / f"log{suffix}"
    write = log.to_parquet if suffix == ".parquet" else log.to_csv
    write(path, index=False)
    dataset = from_interactions(path, {})
    assert dataset.item_ids.dtype == np.int64
    assert pairs(dataset) == pairs_of(log)
    dataset = from_interactions(path, {}, id_type="str")
    assert pairs(dataset) == pairs_of(log.astype({"item_id": str}))
    # What is too large is text, in the one as in the other.
    log["item_id"] = log["item_id"].astype(np.uint64) + np.uint64(1)
    write = log.to_parquet if suffix == ".parquet" else log.to_csv
    write(path, index=False)
    dataset = from_interactions(path, {})
    assert pairs(dataset) == pairs_of(log.astype({"item_id": str}))


@pytest.mark.parametrize("sign", ["1_000", "\u0663", "a\u2028b"])
def test_text_stays_text(tmp_path, sign):
    log = integer_log().astype({"item_id": str})
    log["item_id"] = log["item_id"].replace("7", sign)
    log.to_csv(tmp_path / "log.csv", index=False)
    dataset = from_interactions(tmp_path / "log.csv", {})
    assert pairs(dataset) == pairs_of(log)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.csv", "", "log.csv' cannot be read: No columns"),
        ("log.csv", "user_id,item_id\n", "log.csv' must have rows"),
        (
            "log.csv",
            "user_id\titem_id\n1\t2\n",
            r"log.csv' must have the column.*user_col='user_id', item_col=",
        ),
        (
            "log.csv",
            "user_id,item_id\n1,2\n1,3,4\n",
            "log.csv' .* line 3, saw 3$",
        ),
        ("log.csv", "user_id,item_id\n1,2,3\n", "log.csv' must have 2 fields"),
        ("log.csv", "user_id,item_id\n1,2\n1\n", "'item_id' must have an id"),
        ("log.parquet", "user_id,item_id\n", "log.parquet' must be a whole"),
        ("log.txt", "user_id,item_id\n", r"must be .* \(got '.txt'\)"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        from_interactions(path, {})
    assert list(tmp_path.iterdir()) == [path]


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"log\.csv' does not exist"):
        from_interactions(tmp_path / "log.csv", {})


def test_quotation_marks_in_inter_files(tmp_path: Path) -> None:
    """They are characters like any other."""
    path = tmp_path / "log.inter"
    lines = ["user_id:token\titem_id:token\treview:token_seq\ttime:float"]
    for user in range(4):
        for item in range(5):
            review = '"best' if item == user else "fine"
            name = '"Heroes' if item == 3 else f"i{item}"
            lines.append(f"u{user}\t{name}\t{review}\t{user + item}")
    path.write_text("\n".join(lines) + "\n")
    dataset = MultimodalRecDataset.from_interactions(path, {}, time_col="time")
    assert dataset.user_ids.tolist() == ["u0", "u1", "u2", "u3"]
    assert '"Heroes' in dataset.item_ids.tolist()
    store = dataset[0]["user", "interacts", "item"]
    assert dataset.num_duplicates == 0
    num_kept = sum(
        store[name].size(1)
        for name in (
            "edge_index",
            "val_edge_label_index",
            "test_edge_label_index",
        )
    )
    assert num_kept == 20


@pytest.mark.parametrize(
    ("field", "line"), [('"never closed', 3), ('"closed in another" row', 3)]
)
def test_quotation_marks_that_swallow_rows(
    tmp_path: Path, field: str, line: int
) -> None:
    path = tmp_path / "log.csv"
    lines = ["user_id,item_id,review"]
    lines += [f"u{n},i{n},fine" for n in range(9)]
    lines[line - 1] = f"u1,i1,{field}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=rf"log.csv', line {line} must close"):
        MultimodalRecDataset.from_interactions(path, {})


@pytest.mark.parametrize(
    ("name", "sep", "opened"),
    [
        ("log.csv", ",", '"Heroes'),
        ("log.tsv", "\t", '"Heroes'),
        ("log.csv.gz", ",", '"Heroes'),
        ("log.csv", ",", '"a ""good"" one'),
    ],
)
def test_rows_are_lines(
    tmp_path: Path, name: str, sep: str, opened: str
) -> None:
    """A mark that another row closes would swallow the rows between."""
    rows = [[f"u{n % 4}", f"i{n}", str(n), f"film {n}"] for n in range(12)]
    lines = [sep.join(["user_id", "item_id", "t", "title"])]
    rows[3][-1], rows[6][-1] = opened, 'TV 32"'
    lines += [sep.join(row) for row in rows]
    text = ("\n".join(lines) + "\n").encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(
        ValueError,
        match=r"', line 5 must close .*rows must be lines .* up to line 8\)",
    ):
        from_interactions(path, {})


def test_quoted_fields(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    lines = ["user_id,item_id,review", ""]
    lines += [f'u{n % 3},"i,{n}","a ""good"" one"' for n in range(12)]
    path.write_text("\r\n".join(lines) + "\r\n")
    dataset = from_interactions(path, {})
    assert dataset.item_ids.tolist() == sorted(f"i,{n}" for n in range(12))


@pytest.mark.parametrize("header", ["user_id,item_id,item_id", "x,user_id,x"])
def test_repeated_columns(tmp_path: Path, header: str) -> None:
    names = header.split(",")
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\n1,2,3\n")
    table = pd.DataFrame([[1, 2, 3]], columns=names)
    for log in (path, table):
        with pytest.raises(ValueError, match=r"distinct names \(got \['"):
            from_interactions(log, {})
    path.write_text("user_id,item_id,,\n1,2,3,4\n")  # Nameless.
    with pytest.raises(ValueError, match="at least one validation"):
        from_interactions(path, {})


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_damaged_parquet(tmp_path: Path, compression: str) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "log.parquet"
    make_log().to_parquet(path, index=False, compression=compression)
    content = bytearray(path.read_bytes())
    content[50:450] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"log\.parquet' (must|, column)"):
        from_interactions(path, {})


def test_lists_are_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "baskets.parquet"
    table = {"user_id": ["a", "b"], "item_id": [["x", "y"], ["z"]]}
    pd.DataFrame(table).to_parquet(path)
    message = r"baskets\.parquet', column 'item_id' must have integers or text"
    with pytest.raises(ValueError, match=message):
        from_interactions(path, {})


def test_repeated_columns_of_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table([[1], [2], [3]], ["user_id", "item_id", "item_id"])
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"log\.parquet' must .* distinct"):
        from_interactions(tmp_path / "log.parquet", {})


def test_missing_labels(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,x_label\n1,2,0\n1,3,\n")
    with pytest.raises(ValueError, match=r"have a label in every row \(row 1,"):
        from_interactions(path, {}, split="given")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1367458200, 1367458300, "NULL", 1367458500], r"'NULL' in row 2,"),
        (["1", "2.5", "x", "4"], "'x' in row 2,"),
        (["2020-01-01", "2020-01-02", "soon", "2020-01-04"], "'soon' in row 2"),
    ],
)
def test_the_time_that_does_not_parse_is_named(
    times: Any, message: str
) -> None:
    log = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2]})
    with pytest.raises(ValueError, match=message):
        MultimodalRecDataset.from_interactions(
            log.assign(t=times), {}, time_col="t"
        )

import os

import numpy as np
import pytest
import torch

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.datasets._mmrec import read_mapping, write_mapping
from tmfun_pyg.datasets._processed import pack_ids, unpack_ids

# The first user and the last two items have no interaction.
ROWS = "1 0 0\n2 1 0\n1 2 1\n2 3 2\n"
USERS = "user_id\tuserID\nzoë\t1\n007\t2\nA B\t0\n"
ITEMS = "asin\titemID\n5\t3\n-7\t0\n12\t1\n0\t2\n900\t5\n6\t4\n"
FEATURES = {"visual": np.arange(12.0).reshape(6, 2) + 1}


def write(root, users=USERS, items=ITEMS):
    for name, text in (("u", users), ("i", items)):
        path = root / "toy" / f"{name}_id_mapping.csv"
        if text is not None:
            path.write_bytes(text.encode())


def test_raw_ids_and_cold_items(make_raw):
    root = make_raw(ROWS, FEATURES)
    write(root)
    for _ in range(2):  # From the raw files, then from the processed one.
        dataset = MultimodalRecDataset(root, "toy")
        assert dataset.user_ids.tolist() == ["A B", "zoë", "007"]
        assert dataset.user_ids.dtype.kind == "U"
        assert dataset.item_ids.tolist() == [-7, 12, 0, 5, 6, 900]
        assert dataset.item_ids.dtype == np.int64
        data = dataset[0]
        data.validate(raise_on_error=True)
        assert data["user"].num_nodes == 3
        assert data["item"].num_nodes == 6
        assert data["item"].x_visual.tolist() == FEATURES["visual"].tolist()
        store = data["user", "item"]
        assert store.edge_index.tolist() == [[1, 2], [0, 1]]
        assert store.val_edge_label_index.tolist() == [[1], [2]]
    assert [path.rpartition("/")[2] for path in dataset.raw_paths] == [
        "toy.inter",
        "visual_feat.npy",
        "u_id_mapping.csv",
        "i_id_mapping.csv",
    ]


def test_one_mapping_alone(make_raw):
    root = make_raw(ROWS, FEATURES)
    write(root, users=None)
    dataset = MultimodalRecDataset(root, "toy")
    assert dataset.user_ids.tolist() == [0, 1, 2]
    assert dataset.item_ids.tolist() == [-7, 12, 0, 5, 6, 900]


def test_mappings_decide_what_is_read_anew(make_raw):
    root = make_raw(ROWS, FEATURES)
    write(root, users=None)
    MultimodalRecDataset(root, "toy")
    write(root)
    dataset = MultimodalRecDataset(root, "toy")
    assert dataset.user_ids[1] == "zoë"
    write(root, users=USERS.replace("zoë", "zoé"))
    os.utime(root / "toy" / "u_id_mapping.csv", ns=(0, 12345))
    dataset = MultimodalRecDataset(root, "toy")
    assert dataset.user_ids[1] == "zoé"


def test_windows_lines_and_empty_lines_at_the_end(make_raw):
    root = make_raw(ROWS, FEATURES)
    write(root, users="\ufeff" + USERS.replace("\n", "\r\n") + "\r\n\r\n")
    dataset = MultimodalRecDataset(root, "toy")
    assert dataset.user_ids.tolist() == ["A B", "zoë", "007"]


def replace(old, new):
    assert old in USERS
    return {"users": USERS.replace(old, new)}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"users": ""}, "u_id_mapping.csv' cannot be read: No columns"),
        ({"users": "user_id\tuserID\n"}, "must have rows"),
        (
            replace("userID", "user"),
            r"line 1 must have .* and 'userID' \(got \['user_id', 'user'\]",
        ),
        (replace("user_id\t", ""), r"must have 1 fields .*\['userID'\]"),
        (replace("007\t2", "007,2"), r"line 3, column 'userID' .*\(got ''\)"),
        (replace("007\t2", ""), r"line 3, column 'user_id' .*\(got ''\)"),
        (
            replace("007\t2", "007\t2\t2"),
            "u_id_mapping.csv' .*Expected 2 fields in line 3, saw 3",
        ),
        (
            replace("A B\t0", "A B\t1"),
            "line 4, column 'userID' must be an index .*not repeated .*'1'",
        ),
        (
            replace("A B\t0", "A B\t3"),
            r"line 4, column 'userID' must be below 3, .*3",
        ),
        (replace("007\t2", "007\t-1"), "line 3, column 'userID' must .*'-1'"),
        (replace("007\t2", "007\t²"), "line 3, column 'userID' must .*'²'"),
        (replace("007\t2", "007\t02"), "line 3, column 'userID' must .*'02'"),
        (replace("007", ""), "line 3, column 'user_id' must be an id .*''"),
        (replace("007", "007 "), "line 3, .*spaces around it .*'007 '"),
        (replace("A B", "zoë"), "line 4, column 'user_id' .*repeated .*'zoë'"),
        (replace("007", "0\x007"), "line 3 has a null character"),
        (replace("007", '"007'), "u_id_mapping.csv', line 3 must close"),
        (replace("zoë", '"zo\në"'), "line 2 must close .* up to line 3"),
        (
            {"items": "id\titemID\n5\t0\n5\t1\n7\t2\n8\t3\n9\t5\n6\t4\n"},
            "i_id_mapping.csv', line 3, column 'id' .*repeated .*'5'",
        ),
        (
            {"users": "user_id\tuserID\na\t0\nb\t1\n"},
            r"toy.inter', line 3, column 'userID' must be below 2 \(got 2\): "
            "the number of users in '.*u_id_mapping.csv'",
        ),
        (
            {"items": "id\titemID\na\t0\nb\t1\nc\t2\nd\t3\ne\t4\n"},
            "visual_feat.npy' must have 5 rows, the number of items in "
            r"'.*i_id_mapping.csv' \(got 6\)",
        ),
    ],
)
def test_bad_mappings(make_raw, nothing_written, kwargs, message):
    root = make_raw(ROWS, FEATURES)
    write(root, **kwargs)
    nothing_written()
    with pytest.raises(ValueError, match=message):
        MultimodalRecDataset(root, "toy")


def test_no_text(make_raw):
    root = make_raw(ROWS, FEATURES)
    (root / "toy" / "u_id_mapping.csv").write_bytes(b"user\tuserID\n\xff\t0")
    with pytest.raises(ValueError, match=r"u_id_mapping\.csv' .*utf-8"):
        MultimodalRecDataset(root, "toy")


IDS = ["007", "日本", "😀 x", 'say "hi"', '"', "tab\there", "a\u2028b", "a b"]


def test_any_text_comes_back(tmp_path):
    path = str(tmp_path / "map.csv")
    write_mapping(path, "itemID", np.array(IDS))
    assert read_mapping(path, "itemID").tolist() == IDS


@pytest.mark.parametrize("ids", [[7, -5, 2**63 - 1], ["7", "-5"]])
def test_types_come_back(tmp_path, ids):
    path = str(tmp_path / "map.csv")
    write_mapping(path, "itemID", np.array(ids))
    assert read_mapping(path, "itemID").tolist() == ids


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["0", "-5", "123456789012345678"], "i"),
        (["0", "9223372036854775807"], "i"),
        (["0", "9223372036854775808"], "U"),
        (["0", "1_000"], "U"),
        (["0", "\u0663"], "U"),
        (["0", "-0"], "U"),
        (["1", "07"], "U"),
        (["1", "+7"], "U"),
    ],
)
def test_integers(tmp_path, ids, kind):
    path = tmp_path / "map.csv"
    rows = [f"{name}\t{index}\n" for index, name in enumerate(ids)]
    path.write_text("".join(["asin\titemID\n", *rows]), "utf-8")
    found = read_mapping(str(path), "itemID")
    assert found.dtype.kind == kind
    assert [str(name) for name in found] == ids


@pytest.mark.parametrize(
    "ids",
    [
        np.array([*IDS, "", "\ud800", "\U0010ffff"]),
        np.array([""]),
        np.array(IDS)[::2],
        np.array([3, -5, 2**62]),
    ],
)
def test_packed_ids(tmp_path, ids):
    path = tmp_path / "ids.pt"
    torch.save(pack_ids(ids), path)
    found = unpack_ids(torch.load(path, weights_only=True))
    assert found.dtype == ids.dtype
    assert np.array_equal(found, ids)

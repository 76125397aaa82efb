import gzip
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tmfun_pyg.datasets import MultimodalRecDataset, _json_lines, prepare
from tmfun_pyg.datasets._json_lines import read_json_lines
from tmfun_pyg.datasets._sparse_pickle import read_sparse_pickle

# 30 users of 5 of 12 items: (user, item, seconds).
LOG = [
    (user, (user * 5 + n * 7) % 12, 1_600_000_000 + user * 100 + n)
    for user in range(30)
    for n in range(5)
]


def read(tmp_path, log, format, **options):
    report = prepare(
        tmp_path / log, tmp_path / "out", "own", format=format, **options
    )
    return MultimodalRecDataset(tmp_path / "out", "own"), report


def triples(dataset):
    """The raw ids and seconds of all interactions."""
    user, item, seconds = dataset.interaction_times.tolist()
    users, items = dataset.user_ids.tolist(), dataset.item_ids.tolist()
    return {
        (users[u], items[i], s)
        for u, i, s in zip(user, item, seconds, strict=True)
    }


def write(path, lines):
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ratings.csv", "{},{},4.5,{}"),
        ("ratings.csv.gz", "{},{},4.5,{}"),
        ("u.data", "{}\t{}\t4\t{}"),
        ("ratings.dat", "{}::{}::4::{}"),
    ],
)
def test_movielens(tmp_path, name, line):
    header = ["userId,movieId,rating,timestamp"] if ".csv" in name else []
    write(tmp_path / name, header + [line.format(*row) for row in LOG])
    dataset, _ = read(tmp_path, name, "movielens", split="leave_last_out")
    assert triples(dataset) == set(LOG)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "movies.csv",
            [
                "movieId,title,genres",
                '3,"American President, The (1995)",Comedy|Drama',
                "99,Heat (1995),Action",
            ],
        ),
        (
            "u.item",
            [
                f"3|American President, The (1995)|01-Jan-1995||u|{'0|' * 18}0",
                f"99|Misérables, Les (1995)|||u|{'0|' * 18}0",
            ],
        ),
        (
            "movies.dat",
            [
                "3::American President, The (1995)::Comedy|Drama",
                "99::Misérables, Les (1995)::Drama",
            ],
        ),
    ],
)
def test_movielens_titles(tmp_path, name, lines):
    write(tmp_path / "u.data", ["{}\t{}\t4\t{}".format(*row) for row in LOG])
    encoding = "utf-8" if name.endswith(".csv") else "latin-1"
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding)
    dataset, report = read(
        tmp_path, "u.data", "movielens", items=tmp_path / name
    )
    titles = [""] * 12
    titles[3] = "American President, The (1995)"
    assert dataset.item_table.title.tolist() == titles
    assert any("99" in line for line in report.ignored)


def test_movielens_of_another_layout(tmp_path):
    write(tmp_path / "ratings.csv", ["user,item,stars", "1,2,3"])
    with pytest.raises(ValueError, match=r"userId, movieId, timestamp of for"):
        read(tmp_path, "ratings.csv", "movielens")
    write(tmp_path / "u.data", ["user id\titem id\trating\ttimestamp"])
    with pytest.raises(ValueError, match=r"u.data' must have no header where"):
        read(tmp_path, "u.data", "movielens")
    write(tmp_path / "u.data", ["1\t2\t3"])
    with pytest.raises(ValueError, match=r"u.data' must have 4 columns, user"):
        read(tmp_path, "u.data", "movielens")
    write(tmp_path / "ratings.txt", ["1,2,3"])
    with pytest.raises(ValueError, match=r"\.csv, \.data, \.dat for format="):
        read(tmp_path, "ratings.txt", "movielens")
    with pytest.raises(ValueError, match="'sep' must not be given with format"):
        read(tmp_path, "ratings.csv", "movielens", sep=";")
    # There are no other files whose column it could be.
    with pytest.raises(ValueError, match="'item_col' must not be given with f"):
        read(tmp_path, "ratings.csv", "movielens", item_col="movieId")
    with pytest.raises(ValueError, match="'format' must be one of movielens, "):
        read(tmp_path, "ratings.csv", "netflix")


def reviews(edition):
    for user, item, seconds in LOG:
        review = {"text": "good\nbook", "verified": True, "images": []}
        if edition == "amazon2023":
            review |= {"rating": 5.0, "asin": "other", "user_id": f"A{user}"}
            review |= {"parent_asin": f"00{item}", "timestamp": seconds * 1000}
        else:
            review |= {"overall": 5.0, "reviewerID": f"A{user}"}
            review |= {"asin": f"00{item}", "unixReviewTime": seconds}
        yield json.dumps(review)


META = {
    "amazon2023": [
        {
            "main_category": "Books",
            "title": "First\n book",
            "features": ["Light", " and thin "],
            "description": ["It is", "long."],
            "images": [{"thumb": "t", "large": "l", "hi_res": None}],
            "store": "Shop",
            "categories": ["Books", "Old"],
            "parent_asin": "003",
        },
        {
            "title": None,
            "features": [],
            "description": [],
            "images": [],
            "store": None,
            "categories": [],
            "parent_asin": "004",
        },
    ],
    "amazon2018": [
        {
            "asin": "003",
            "title": "First\n book",
            "feature": ["Light", " and thin "],
            "description": ["It is", "long."],
            "imageURL": ["s"],
            "imageURLHighRes": ["l"],
            "brand": "Shop",
            "category": ["Books", "Old"],
        },
        {"asin": "004", "imageURL": ["s"]},
    ],
}


@pytest.mark.parametrize("edition", ["amazon2018", "amazon2023"])
@pytest.mark.parametrize("chunk", [7, 10_000])
def test_amazon(tmp_path, monkeypatch, edition, chunk):
    monkeypatch.setattr(_json_lines, "CHUNK", chunk)
    suffix = "json.gz" if edition == "amazon2018" else "jsonl.gz"
    write(tmp_path / f"log.{suffix}", reviews(edition))
    key = "asin" if edition == "amazon2018" else "parent_asin"
    others = [{key: f"x{n}", "title": "other"} for n in range(8)]
    rows = [*others, *META[edition], META[edition][0] | {"title": "again"}]
    write(tmp_path / f"meta.{suffix}", map(json.dumps, rows))
    items = tmp_path / f"meta.{suffix}"
    dataset, report = read(tmp_path, f"log.{suffix}", edition, items=items)
    assert triples(dataset) == {(f"A{u}", f"00{i}", s) for u, i, s in LOG}
    table = dataset.item_table.set_index(dataset.item_ids)
    assert table.loc["003"].tolist() == ["First book", "l", "Shop"]
    image = "s" if edition == "amazon2018" else ""
    assert table.loc["004"].tolist() == ["", image, ""]
    assert table.loc["005"].tolist() == ["", "", ""]
    texts = pd.read_csv(tmp_path / "out/own/item_texts.csv", dtype=str)
    text = "First book Light and thin Books Old It is long."
    assert texts.fillna("").to_numpy().tolist() == [["003", text], ["004", ""]]
    assert any("9 row(s) of other or repeated" in x for x in report.ignored)
    # The folder can be replaced, texts and all.
    read(tmp_path, f"log.{suffix}", edition, overwrite=True)
    assert not (tmp_path / "out/own/item_texts.csv").exists()


@pytest.mark.parametrize(
    ("edition", "header", "line"),
    [
        ("amazon2018", [], "{1},A{0},5.0,{2}"),
        (
            "amazon2023",
            ["user_id,parent_asin,rating,timestamp"],
            "A{0},{1},5.0,{2}",
        ),
    ],
)
def test_amazon_ratings(tmp_path, edition, header, line):
    write(tmp_path / "log.csv", header + [line.format(*row) for row in LOG])
    dataset, _ = read(tmp_path, "log.csv", edition)
    assert triples(dataset) == {(f"A{u}", i, s) for u, i, s in LOG}


GOOD = '{"user_id": "A", "parent_asin": "B", "timestamp": 1}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "{"], r"line 2 must be a JSON object \(got {: Expecting"),
        ([GOOD, "[1]"], r"line 2 must be a JSON object \(got \[1\]"),
        ([GOOD, "", GOOD], "line 2 must be a JSON object"),
        ([GOOD, '{"user_id": "A"}'], "line 2 must have the fields user_id, p"),
        ([], "must have rows"),
        (
            [GOOD, GOOD.replace('"A"', r'"\ud83d"')],
            r"line 2 must have no lone surrogates \(got '\\ud83d' in",
        ),
    ],
)
@pytest.mark.parametrize("chunk", [1, 100])
def test_other_lines(tmp_path, monkeypatch, lines, message, chunk):
    monkeypatch.setattr(_json_lines, "CHUNK", chunk)
    write(tmp_path / "log.jsonl", lines)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "log.jsonl", "amazon2023")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"user_id": ["A"]}, "column 'user_id' must"),
        ({"user_id": {"A": 1}}, "column 'user_id' must"),
        ({"parent_asin": [1.5]}, "column 'parent_asin' must"),
        ({"parent_asin": " B"}, "column 'parent_asin' must"),
        ({"timestamp": "noon"}, "column 'timestamp' must"),
        ({"timestamp": [1]}, "column 'timestamp' must"),
    ],
)
def test_other_values(tmp_path, line, message):
    bad = json.dumps(json.loads(GOOD) | line)
    write(tmp_path / "log.jsonl", [GOOD, bad])
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "log.jsonl", "amazon2023")


def test_escaped_characters_in_meta(tmp_path):
    write(tmp_path / "log.jsonl", reviews("amazon2023"))
    meta = tmp_path / "meta.jsonl"
    line = '{{"parent_asin": "003", "title": "{}", "details": "{}"}}'
    # Halves are no text; those of a pair are, as is what is not read.
    write(meta, [line.format(r"a\ud83d\ude00", r"\ud83d")])
    dataset, _ = read(tmp_path, "log.jsonl", "amazon2023", items=meta)
    assert set(dataset.item_table.title) == {"", "a\U0001f600"}
    write(meta, [line.format("b", ""), line.format(r"a\uDE00", "")])
    with pytest.raises(ValueError, match=r"meta.jsonl', line 2 must .*ude00'"):
        read(tmp_path, "log.jsonl", "amazon2023", items=meta, overwrite=True)


def test_meta_of_other_items(tmp_path):
    write(tmp_path / "log.jsonl", reviews("amazon2023"))
    for rows in (['{"parent_asin": "x"}'], []):
        write(tmp_path / "meta.jsonl", rows)
        items = tmp_path / "meta.jsonl"
        with pytest.raises(ValueError, match="must have items of the log such"):
            read(tmp_path, "log.jsonl", "amazon2023", items=items)


def test_broken_gzip(tmp_path):
    write(tmp_path / "log.jsonl.gz", [GOOD] * 100)
    content = (tmp_path / "log.jsonl.gz").read_bytes()
    (tmp_path / "log.jsonl.gz").write_bytes(content[:-10])
    with pytest.raises(ValueError, match="must be a complete gzip file"):
        read(tmp_path, "log.jsonl.gz", "amazon2023")
    (tmp_path / "log.jsonl").write_bytes(b'{"user_id": "\xff"}')
    with pytest.raises(ValueError, match="must be text in UTF-8"):
        read(tmp_path, "log.jsonl", "amazon2023")


def test_reads_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(_json_lines, "CHUNK", 40)
    write(tmp_path / "log.jsonl", [GOOD] * 100)
    frames = read_json_lines(str(tmp_path / "log.jsonl"), ["user_id"], ["no"])
    assert [frame.shape for frame in frames] == [(40, 2), (40, 2), (20, 2)]


@pytest.mark.parametrize("times", [True, False])
def test_recbole(tmp_path, times):
    rows = ["u{}\ti{}\t4.0\t{}".format(*row) for row in LOG]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    if not times:
        header, *rows = (x.rpartition("\t")[0] for x in [header, *rows])
    write(tmp_path / "ml.inter", [header, *rows])
    item = ["item_id:token\tmovie_title:token_seq\tclass:token_seq"]
    write(tmp_path / "ml.item", [*item, 'i3\t"Heat", or not\tAction Crime'])
    items = tmp_path / "ml.item"
    dataset, report = read(tmp_path, "ml.inter", "recbole", items=items)
    if times:
        assert triples(dataset) == {(f"u{u}", f"i{i}", s) for u, i, s in LOG}
    else:
        assert dataset.interaction_times is None
    assert dataset.item_ids.tolist()[5] == "i3"
    assert dataset.item_table.title.tolist()[5] == '"Heat", or not'
    assert any("column(s) class;" in line for line in report.ignored)


@pytest.mark.parametrize(
    ("log", "items", "message"),
    [
        ("user_id:token\tartist_id:token", "", "columns user_id, item_id of"),
        ("user_id\titem_id\nu\t", "", "'item_id' must have an id"),
        (None, "item_id:token\tclass:token_seq\ni1\tx", "some of title, imag"),
        (None, "item_id:token\ttitle\tmovie_title\ni1\tx\ty", "distinct na"),
        (None, "id:token\ttitle\ni1\tx", "the column item_col='item_id'"),
        (None, "item_id:token\ttitle\nx\tx", "must have ids of the data set"),
        (None, "", r"ml\.item' cannot be read"),
        (
            None,
            "item_id:token\ttitle\tclass\ni1\tx\ty\n\ni3\ti",
            r"ml\.item', line 4 must have 3 fields \(got 2\)",
        ),
    ],
)
def test_recbole_of_another_layout(tmp_path, log, items, message):
    rows = [log] if log else ["user_id:token\titem_id:token"]
    rows += [] if log else ["u{}\ti{}".format(*row) for row in LOG]
    write(tmp_path / "ml.inter", rows)
    write(tmp_path / "ml.item", [items])
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "ml.inter", "recbole", items=tmp_path / "ml.item")
    assert not (tmp_path / "out").exists()


SPLITS = [LOG[:90], LOG[90:120], LOG[120:]]


def matrix(rows, kind=sp.coo_matrix):
    user, item, _ = np.array(rows).T
    return kind((np.ones(len(rows)), (user, item)), shape=(30, 12))


@pytest.mark.parametrize("kind", ["json", "pkl"])
def test_mmssl(tmp_path, kind):
    folder = tmp_path / "tiktok"
    folder.mkdir()
    if kind == "json":
        for name, rows in zip(("train", "val", "test"), SPLITS, strict=True):
            items = {}
            for user, item, _ in rows:
                items.setdefault(str(user), []).append(item)
            (folder / f"{name}.json").write_text(json.dumps(items))
    else:
        for name, rows in zip(
            ("trnMat", "valMat", "tstMat"), SPLITS, strict=True
        ):
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(matrix(rows)))
    np.save(folder / "image_feat.npy", np.ones((12, 3)))
    # Users stand in one split each here, so that none can be judged.
    with pytest.raises(ValueError, match="'split' must give some users inter"):
        read(tmp_path, "tiktok", "mmssl")
    features = {"image": str(folder / "image_feat.npy")}
    dataset, _ = read(
        tmp_path, "tiktok", "mmssl", features=features, split="random"
    )
    pairs = dataset[0]["user", "item"]
    assert dataset[0]["item"].x_image.shape == (12, 3)
    found = [pairs.edge_index, pairs.val_edge_label_index]
    found.append(pairs.test_edge_label_index)
    found = {(u, i) for part in found for u, i in part.T.tolist()}
    assert found == {(u, i) for u, i, _ in LOG}


def test_mmssl_split(tmp_path):
    folder = tmp_path / "tiktok"
    folder.mkdir()
    parts = [LOG[0::5] + LOG[1::5] + LOG[2::5], LOG[3::5], LOG[4::5]]
    for name, rows in zip(("trnMat", "valMat", "tstMat"), parts, strict=True):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(matrix(rows)))
    store = read(tmp_path, "tiktok", "mmssl")[0][0]["user", "item"]
    for rows, key in zip(
        parts,
        ("edge_index", "val_edge_label_index", "test_edge_label_index"),
        strict=True,
    ):
        expected = sorted((u, i) for u, i, _ in rows)
        assert [tuple(pair) for pair in store[key].T.tolist()] == expected


def test_mmssl_without_files(tmp_path):
    with pytest.raises(ValueError, match=r"train.json, .* or trnMat.pkl, "):
        read(tmp_path, "tiktok", "mmssl")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "kind", [sp.coo_matrix, sp.csr_matrix, sp.coo_array, sp.csr_array]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_sparse_pickle(tmp_path, protocol, kind, dtype):
    dense = np.arange(20).reshape(4, 5) % 3
    path = tmp_path / "trnMat.pkl"
    value = kind(dense.astype(dtype))
    path.write_bytes(pickle.dumps(value, protocol))
    row, col = read_sparse_pickle(str(path))
    assert (row.tolist(), col.tolist()) == tuple(
        part.tolist() for part in dense.nonzero()
    )


def test_names_of_older_versions(tmp_path):
    content = pickle.dumps(matrix(LOG), 3)
    content = content.replace(b"cscipy.sparse._coo", b"cscipy.sparse.coo")
    content = content.replace(b"cnumpy._core.", b"cnumpy.core.")
    (tmp_path / "m.pkl").write_bytes(content)
    row, _ = read_sparse_pickle(str(tmp_path / "m.pkl"))
    assert row.tolist() == matrix(LOG).row.tolist()


class Hostile:
    def __init__(self, function, *args):
        self.made = function, args

    def __reduce__(self):
        return self.made


def touch(path):
    open(path, "w").close()


def hostile(path):
    """Pickles that would write a file, or have other things called."""
    inside = matrix(LOG)
    inside.note = Hostile(touch, path)
    array = np.empty(1, dtype=object)
    array[0] = Hostile(touch, path)
    objects = matrix(LOG)
    objects.data = array
    return {
        "open": (Hostile(open, path, "w"), "builtins.open|_io.open|io.open"),
        "eval": (Hostile(eval, f"open({path!r}, 'w')"), "builtins.eval"),
        "getattr": (Hostile(getattr, 1, "real"), "builtins.getattr"),
        "inside": (inside, r"\.touch"),
        "objects": (objects, r"'O8'|\.touch"),
        "numpy": (Hostile(np.fromfile, path), "numpy.*fromfile"),
        "scipy": (Hostile(sp.load_npz, path), r"scipy\.sparse\..*load_npz"),
        "lil": (sp.lil_matrix((2, 2)), r"_lil\.lil_matrix"),
        "list": ([1, 2], "ValueError: list"),
    }


@pytest.mark.parametrize("name", hostile("x"))
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_hostile_pickle(tmp_path, name, protocol):
    target = tmp_path / "written"
    value, message = hostile(str(target))[name]
    path = tmp_path / "trnMat.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(ValueError, match="pickled matrix of scipy") as info:
        read_sparse_pickle(str(path))
    if protocol > 2:  # In the oldest, "_codecs.encode" may come first.
        assert re.search(message, str(info.value)), str(info.value)
    assert not target.exists()


@pytest.mark.parametrize(
    ("kind", "part", "value", "message"),
    [
        ("coo", "row", [-1, 0], r"indices from -1 to 0 of 3"),
        ("coo", "col", [0, 4], r"indices from 0 to 4 of 4"),
        ("coo", "row", [0.0, 1.5], r"indices of type float64"),
        ("csr", "indices", [0, 4], r"indices from 0 to 4 of 4"),
        ("csr", "indptr", [0, 10**18, 2, 2], r"repeats may not|negative"),
        ("csr", "indptr", [0, 0, 0, 10**18], f"rows from 0 to {10**18}"),
        ("csr", "indptr", [-(10**18), 0, 0, 2], f"rows from -{10**18} to 2"),
    ],
)
def test_indices_of_a_pickle(tmp_path, kind, part, value, message):
    value = np.array(value)
    inside = sp.coo_matrix(([1.0, 1.0], ([0, 1], [0, 1])), shape=(3, 4))
    inside = inside.asformat(kind)
    if kind == "coo":
        place = ("row", "col").index(part)
        coords = list(inside.coords)
        coords[place] = value
        inside.coords = tuple(coords)
    else:
        setattr(inside, part, value)
    path = tmp_path / "trnMat.pkl"
    path.write_bytes(pickle.dumps(inside))
    with pytest.raises(ValueError, match=rf"trnMat.pkl' must .*{message}"):
        read_sparse_pickle(str(path))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_values_of_a_pickle(tmp_path, value):
    inside = matrix(LOG)
    inside.data[7] = float(value)
    path = tmp_path / "valMat.pkl"
    path.write_bytes(pickle.dumps(inside))
    expected = rf"valMat\.pkl' must .*values such as {value}\)$"
    with pytest.raises(ValueError, match=expected):
        read_sparse_pickle(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"0": [1], "1": [2], "0": [3]}', "the user '0' 2 times"),
        ('{"5": [1], "05": [3]}', "the user '05'"),
    ],
)
def test_users_that_stand_twice_in_json(tmp_path, text, message):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(ValueError, match=rf"train.json' must .*{message}"):
        read(tmp_path.parent, tmp_path.name, "mmssl")


def test_damaged_pickle(tmp_path):
    content = pickle.dumps(matrix(LOG))
    path = tmp_path / "trnMat.pkl"
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="pickled matrix of scipy"):
            read_sparse_pickle(str(path))

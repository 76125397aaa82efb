import csv
import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from tmfun_pyg.nn import LightGCN
from tmfun_pyg.recommender import write_recommendations
from tmfun_pyg.recommender.tables import values_of


def read_rows(path: Path) -> List[List[Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    elif path.suffix == ".parquet":
        pandas = pytest.importorskip("pandas")
        rows = pandas.read_parquet(path).to_dict("records")
    else:
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            pairs = zip(row["item_ids"], row["scores"], strict=True)
            rows += [
                {**row, "rank": rank, "item_id": item, "score": score}
                for rank, (item, score) in enumerate(pairs, start=1)
            ]
    return [
        [
            row["user_id"],
            int(row["rank"]),
            row["item_id"],
            pytest.approx(float(row["score"])),
            row["source"],
        ]
        for row in rows
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_files(tmp_path: Path, suffix: str, make_recommender: Any) -> None:
    users = ["ü3", "nobody", "ü3"]
    chunk = make_recommender().recommend(users, k=22)
    path = tmp_path / f"out{suffix}"
    count = write_recommendations(path, [chunk, chunk])
    assert count == {"users": 6, "unknown": 2, "short": 4}
    assert list(tmp_path.iterdir()) == [path]
    expected = []
    for _ in range(2):
        for row, user in enumerate(users):
            length = int(np.isfinite(chunk.score[row]).sum())
            source = "model" if chunk.known[row] else "most-popular"
            expected += [
                [user, place + 1, item, float(score), source]
                for place, (item, score) in enumerate(
                    zip(chunk.item_id[row], chunk.score[row], strict=True)
                )
                if place < length
            ]
    assert read_rows(path) == expected


def test_files_whole_or_not(tmp_path: Path, make_recommender: Any) -> None:
    def chunks() -> Any:
        yield from make_recommender().recommend_iter(k=2)
        raise OSError("No space left on device")

    for name in ("a.csv", "a.parquet", "a.jsonl"):
        with pytest.raises(OSError, match="No space"):
            write_recommendations(tmp_path / name, chunks())
    with pytest.raises(ValueError, match=r"\.csv, .*\(got '\.txt'\)"):
        write_recommendations(tmp_path / "a.txt", [])
    assert list(tmp_path.iterdir()) == []


def test_digits_of_scores(tmp_path: Path, make_recommender: Any) -> None:
    """Are as few as are read as the same number in single precision."""
    chunk = make_recommender().recommend(["ü3"], k=6)
    score = [[3.5, 0.99999994, 1e-8, -0.1, -16777216, -1.1754944e-38]]
    chunk = chunk._replace(score=np.array(score, np.float32))
    digits = ["3.5", "0.99999994", "1e-08", "-0.1", "-16777216.0"]
    digits += ["-1.1754944e-38"]
    write_recommendations(tmp_path / "out.csv", [chunk])
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        found = [row["score"] for row in csv.DictReader(file)]
    assert found == digits
    write_recommendations(tmp_path / "out.jsonl", [chunk])
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert f'"scores": [{", ".join(digits)}]' in text
    drawn = np.random.default_rng(0).integers(2**32, size=10_000)
    numbers = drawn.astype(np.uint32).view(np.float32)
    again = np.array(values_of(numbers)).astype(np.float32)
    np.testing.assert_array_equal(again, numbers)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_nobody(tmp_path: Path, suffix: str, make_recommender: Any) -> None:
    path = tmp_path / f"out{suffix}"
    chunks = make_recommender().recommend_iter([])
    count = write_recommendations(path, chunks)
    assert count == {"users": 0, "unknown": 0, "short": 0}
    assert read_rows(path) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_type_of_user_ids(
    tmp_path: Path, suffix: str, make_recommender: Any, monkeypatch: Any
) -> None:
    """Integers if all that are asked for and known are, in all chunks."""
    monkeypatch.setattr("tmfun_pyg.recommender.raw_ids.CHUNK", 2)
    of_numbers = make_recommender(LightGCN, names=False)
    of_text = make_recommender(LightGCN)
    big = 2**63
    for recommender, users, expected in (
        (of_numbers, [3, 1, 99], [3, 1, 99]),
        (of_numbers, ["3", 1, "-5"], [3, 1, -5]),
        (of_numbers, [3, 1, 4, "nobody"], ["3", "1", "4", "nobody"]),
        (of_numbers, [3, 1, 4, "007"], ["3", "1", "4", "007"]),
        (of_numbers, [3, 1, 4, big], ["3", "1", "4", str(big)]),
        (of_text, [3, "ü1"], ["3", "ü1"]),
        (of_text, [3, 99, 4], ["3", "99", "4"]),
    ):
        item = "i03" if recommender is of_text else 3
        for asked in (
            {"users": iter(users)},
            {"history": {user: [item] for user in users}},
        ):
            path = tmp_path / f"out{suffix}"
            found = list(recommender.recommend_iter(k=1, **asked))
            assert [*map(len, [part.user_id for part in found])] == [
                *[2] * (len(users) // 2),
                *[1] * (len(users) % 2),
            ]
            assert len({part.user_id.dtype.kind for part in found}) == 1
            ids = [raw for part in found for raw in part.user_id.tolist()]
            assert ids == expected
            write_recommendations(path, found)
            rows = [row[0] for row in read_rows(path)]
            assert rows == ([*map(str, ids)] if suffix == ".csv" else ids)

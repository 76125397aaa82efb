"""Who is not known gets the lists of a fallback, worked out by hand here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.nn import LightGCN
from tmfun_pyg.recommender import Recommender, write_recommendations
from tmfun_pyg.recommender.export import load_exported
from tmfun_pyg.transforms import MergeSplits

DAY = 86_400
NOW = 1_600_000_000
# Item, user, days before the last training interaction, split.
LOG = [
    *[("a", "u", 90, 0), ("a", "v", 80, 0), ("a", "w", 70, 0)],
    ("a", "x", 2, 0),
    *[("b", "u", 60, 0), ("b", "v", 1, 0), ("b", "w", 0, 0)],
    *[("c", "u", 50, 0), ("c", "v", 40, 0), ("d", "u", 30, 0)],
    ("d", "v", -1, 1),  # After training, of validation.
    ("d", "w", -2, 2),
    ("d", "new", -3, 2),  # A user without a training interaction.
]
GROUPS = {"a": "x", "b": "x", "c": "y", "d": ""}


def make(times: bool = True, **kwargs: Any) -> Recommender:
    log = pd.DataFrame(LOG, columns=["item_id", "user_id", "days", "x_label"])
    log["time"] = NOW - log["days"] * DAY
    dataset = MultimodalRecDataset.from_interactions(
        log, {}, split="given", time_col="time" if times else None, **kwargs
    )
    dataset.item_table = pd.DataFrame({"group": list(GROUPS.values())})
    return Recommender(LightGCN.from_data(dataset[0]), dataset)


# By hand: a, b, c, d were chosen 4, 3, 2 and 1 times. In the last 30 days,
# those of d, 30 days old to the second, are no longer in, and a has 1, b 2.
# By group the first round is a of x, c of y, d of those without.
SCORES = {
    "popular": ("abcd", [4, 3, 2, 1]),
    "popular:30d": ("bacd", [2 + 3 / 5, 1 + 4 / 5, 2 / 5, 1 / 5]),
    "popular:31d": ("badc", [2 + 3 / 5, 1 + 4 / 5, 1 + 1 / 5, 2 / 5]),
    "group:group": ("acdb", [4 / 5, 2 / 5, 1 / 5, 3 / 5 - 1]),
}


@pytest.mark.parametrize("fallback", SCORES)
def test_by_hand(fallback: str, tmp_path: Path) -> None:
    recommender = replace(make(), fallback=fallback)
    items, scores = SCORES[fallback]
    source = "most-popular" if fallback == "popular" else fallback
    found = recommender.recommend(["nobody", "u"], k=4, exclude_seen=False)
    assert found.source.tolist() == [source, "model"]
    assert found.item_id[0].tolist() == list(items)
    assert found.score[0] == pytest.approx(scores)
    # What the user has is passed over, and so is what a filter leaves out:
    (seen,) = recommender.recommend(["new"], k=4).lists()
    assert seen == [item for item in items if item != "d"]
    (left,) = recommender.recommend(["new"], 4, ["b", "c", "d"]).lists()
    assert left == [item for item in items if item in "bc"]
    pairs = recommender.score(["nobody"] * 4 + ["u"], [*items, "a"])
    assert pairs.score[:4] == pytest.approx(scores)
    assert pairs.known.tolist() == [False] * 4 + [True]
    folded = recommender.recommend(history={"nobody": []}, k=4)
    assert folded.item_id[0].tolist() == list(items)
    assert folded.source.tolist() == [source]

    recommender.export(tmp_path / "out", formats=["scorer"], k=4)
    exported = load_exported(tmp_path / "out")
    expected = recommender.recommend(["nobody", "new", "u"], k=4)
    mine = exported.recommend(["nobody", "new", "u"], k=4)
    assert mine.lists() == expected.lists()
    assert mine.source.tolist() == [source, source, "model"]
    scorer = torch.export.load(tmp_path / "out" / "scorer.pt2").module()
    user = exported.user_ids.tolist().index("new")
    _, item, known = scorer(torch.tensor([user, user]))
    assert not known.any()
    assert exported.item_ids[item[0, :3]].tolist() == seen

    recommender.save(tmp_path / "a.ckpt")
    loaded = Recommender.load(tmp_path / "a.ckpt", recommender.dataset)
    assert loaded.fallback == fallback
    chunks = loaded.recommend_iter(["nobody"])
    write_recommendations(tmp_path / "lists.csv", chunks)
    frame = pd.read_csv(tmp_path / "lists.csv")
    assert frame["item_id"].tolist() == list(items)
    assert set(frame["source"]) == {source}


def test_trained_on_all_splits() -> None:
    # Days count from the last interaction of test, and in these four days d
    # was chosen three times and b once, on the last day of training.
    recommender = replace(
        make(pre_transform=MergeSplits()), fallback="popular:4d"
    )
    assert recommender.fallback_score.floor().tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize(
    ("fallback", "match"),
    [
        ("popular:30x", r"popular:DAYSd.*\(got 'popular:30x'\)"),
        ("popular:0d", "got 'popular:0d'"),
        ("popular:30d\n", "got"),
        ("popular:", "got 'popular:'"),
        ("group:", "got 'group:'"),
        ("Popular", "got 'Popular'"),
        (30, "got 30"),
        ("group:brand", r"item table, group \(got group:brand\)"),
    ],
)
def test_refused(fallback: Any, match: str) -> None:
    with pytest.raises(ValueError, match=rf"^'fallback' must [^\n]*{match}"):
        replace(make(), fallback=fallback)


def test_without_times_or_table() -> None:
    recommender = make(times=False)
    assert recommender.dataset.interaction_times is None
    with pytest.raises(ValueError, match=r"without dates.*popular:30d"):
        replace(recommender, fallback="popular:30d")
    recommender.dataset.item_table = pd.DataFrame(index=range(4))
    with pytest.raises(ValueError, match=r"which has none \(got group:group"):
        replace(recommender, fallback="group:group")


def test_kept_by_add_items(make_recommender: Any, features: dict) -> None:
    recommender = make_recommender()
    table = {"group": np.repeat(["x", "y"], [20, 5])}
    recommender.dataset.item_table = pd.DataFrame(table)
    recommender = replace(recommender, fallback="group:group")
    larger = recommender.add_items(["n1", "n2", "n3"], features)
    (first,) = larger.recommend(["nobody"], k=3).lists()
    assert set(first[:2]) == set(recommender.recommend(["no"], k=2).lists()[0])
    assert first[2] == "n1"  # The best of those without a group.
    assert larger.recommend(["nobody"]).source.tolist() == ["group:group"]

"""Which items may be in a list, for all models and those who ask."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from tmfun_pyg.baselines import ItemKNN
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.recommender.export import load_exported

ITEMS = [f"i{item:02}" for item in range(25)]
# The last one is not in the data set, and gets the most popular items.
USERS = [*(f"ü{user}" for user in range(30)), "nobody"]


@pytest.fixture(params=[LightGCN, ItemKNN])
def recommender(request: Any, make_recommender: Any) -> Recommender:
    """With embeddings, and without."""
    recommender = make_recommender(request.param)
    if request.param is ItemKNN:
        recommender.model.fit(recommender.data)
    return recommender


def lists_of(recommender: Recommender, k: int, **options: Any) -> Dict:
    lists = recommender.recommend(USERS, k, **options).lists()
    return dict(zip(USERS, lists, strict=True))


def test_of_the_request(recommender: Recommender) -> None:
    every = lists_of(recommender, 25)
    some, out = ["i20", "i03", "i03", "i11", "i07"], ["i11", "i11", "i05"]
    for items, exclude_items, left in (
        (some, None, {*some}),
        (None, out, {*ITEMS} - {*out}),
        (some, out, {*some} - {*out}),
        (None, [], {*ITEMS}),
        (np.array(some), iter(out), {*some} - {*out}),
    ):
        found = lists_of(
            recommender, 6, items=items, exclude_items=exclude_items
        )
        assert found == {
            user: [item for item in every[user] if item in left][:6]
            for user in USERS
        }


def test_named_items(recommender: Recommender) -> None:
    some, out = ["i20", "i03", "i03", "i11", "i07"], ["i11", "i11", "i05"]
    recommender.name_items("in_stock", some)
    recommender.name_items("out", ["i07"])
    recommender.name_items("out", out)  # In place of those.
    assert lists_of(
        recommender, 6, items="in_stock", exclude_items="out"
    ) == lists_of(recommender, 6, items=some, exclude_items=out)
    for option in ("items", "exclude_items"):
        with pytest.raises(ValueError, match=f"'{option}' must .* 'sold'"):
            recommender.recommend(k=2, **{option: "sold"})
    with pytest.raises(ValueError, match=r"'items' must .* no-item"):
        recommender.name_items("in_stock", ["no-item"])
    recommender.name_items("nothing", [])
    with pytest.raises(ValueError, match="at least one item"):
        recommender.recommend(items="nothing")


def test_options_are_fixed(recommender: Recommender) -> None:
    """They would be read in part before and in part after the change."""
    with pytest.raises(AttributeError, match="fallback"):
        recommender.fallback = "popular:30d"  # type: ignore[misc]


@pytest.mark.parametrize("few", [None, ITEMS[:12]])
def test_by_user(recommender: Recommender, few: Any) -> None:
    every = lists_of(recommender, 25)
    items = {
        "ü3": ["i20", "i03", "i20", "i11", "i07"],
        "nobody": ["i09", "i02"],
        "ü7": [],
        "ü8": ["i01"],
    }
    out = {"ü3": ["i11"], "ü4": ["i00", "i01", "i02"], "nobody": ["i02"]}
    found = lists_of(recommender, 5, items=few or items, exclude_items=out)
    for user in USERS:
        left = {*(few or items.get(user, ITEMS))} - {*out.get(user, [])}
        assert found[user] == [i for i in every[user] if i in left][:5]
    if few is None:
        assert found["ü7"] == []
        assert found["nobody"] == ["i09"]  # As many as are left.
        assert len(found["ü9"]) == 5


@pytest.mark.parametrize("most", [1, 2])
def test_groups(recommender: Recommender, most: int) -> None:
    every = lists_of(recommender, 25)
    # One large group, and items without any.
    groups: Dict[str, Any] = dict.fromkeys(ITEMS[:9], "large")
    groups |= {item: int(item[2]) for item in ITEMS[9:20]}
    groups["i00"] = None
    found = lists_of(
        recommender, 8, exclude_items=["i19"], max_per_group=most, groups=groups
    )
    for user, listed in found.items():
        expected: List[str] = []
        for item in every[user]:
            group = groups.get(item)
            count = sum(groups.get(i) == group for i in expected)
            if item != "i19" and (group is None or count < most):
                expected.append(item)
        assert listed == expected[:8]


def test_exported(make_recommender: Any, tmp_path: Path) -> None:
    """Answers as the recommender does, and says the same to mistakes."""
    recommender = make_recommender(LightGCN)
    titles = [f"Song ♪{item}" for item in ITEMS]
    recommender.dataset.item_table["title"] = titles
    recommender.export(tmp_path / "served")
    exported = load_exported(tmp_path / "served")
    options: Any = {
        "items": {"ü3": ITEMS[:9], "nobody": ITEMS[3:7]},
        "exclude_items": "sold out",
        "max_per_group": 2,
        "groups": {item: item[1] for item in ITEMS},
    }
    answers, errors = [], []
    for server in (recommender, exported):
        server.name_items("sold out", ITEMS[4:6])
        found = server.recommend(USERS, 4, **options)
        answers.append((found.lists(), server.titles.to_dict()))
        with pytest.raises(ValueError, match="'items' must be a list") as err:
            server.recommend(items="in stock")
        errors.append(str(err.value))
    assert answers[0] == answers[1]
    assert answers[1][1] == dict(zip(ITEMS, titles, strict=True))
    assert errors[0] == errors[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": []}, r"'items' must hold at least one item \(got none\)"),
        ({"exclude_items": ITEMS}, r"leave at least one item \(got all 25"),
        (
            {"items": ["i03", "i03"], "exclude_items": ["i03"]},
            r"'exclude_items' must leave at least one item \(got all 1\)",
        ),
        (
            {"items": ["i03", *"abcdefg"]},
            r"'items' .* such as i00 \(got 7 others: a, b, c, d, e, \.\.\.\)",
        ),
        ({"exclude_items": ["x"]}, r"'exclude_items' must be .*\(got x\)"),
        ({"items": {"ü1": ["x"]}}, r"'items' must be in the .*\(got x\)"),
        (
            {"exclude_items": {"ü1": "i03"}},
            r"'exclude_items of ü1' must be a list of ids \(got 'i03'\)",
        ),
        ({"items": {5: [], "5": []}}, r"'items' .*\(got 2 keys, but 1 texts"),
        ({"max_per_group": 0}, r"'max_per_group' must be at least 1"),
        ({"max_per_group": 1.5}, r"must be a whole number \(got 1\.5\)"),
        (
            {"max_per_group": 1, "groups": [1]},
            r"'groups' must map ids of items to groups \(got a list\)",
        ),
        (
            {"max_per_group": 1, "groups": {"i03": ["a", "b"]}},
            r"'groups' .* one group \(got \['a', 'b'\] for i03\)",
        ),
        ({"k": True}, r"'k' must be a whole number \(got True\)"),
        ({"max_per_group": 1}, r"'max_per_group' must come with groups"),
        ({"groups": {}}, "'groups' must come with 'max_per_group'"),
        (
            {"max_per_group": 1, "groups": {"x": 1, "i03": 1}},
            r"'groups' must be in the data set.*\(got x\)",
        ),
    ],
)
def test_mistakes(make_recommender: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_recommender(LightGCN).recommend(**options)


def test_unknown_ids(make_recommender: Any) -> None:
    """A warning counts and names them, and they are left out."""
    recommender = make_recommender(LightGCN)
    expected = recommender.recommend(["ü1", "ü2"], k=3, items=ITEMS[:8])
    model, dataset = recommender.model, recommender.dataset
    recommender = Recommender(model, dataset, unknown="warn")
    some = {"ü1": [*ITEMS[:8], "x"], "ü2": ["y", *ITEMS[:8]]}
    for items in ([*ITEMS[:8], "x", "y"], some):
        with pytest.warns(UserWarning, match=r"'items' .*others: x, y\)"):
            found = recommender.recommend(["ü1", "ü2"], k=3, items=items)
        assert (found.item_id == expected.item_id).all()
    groups = {"x": 0, **dict.fromkeys(ITEMS, 1)}
    with pytest.warns(UserWarning, match=r"'groups' .*got x"):
        found = recommender.recommend(["ü1"], max_per_group=1, groups=groups)
    assert found.lists()[0] == recommender.recommend(["ü1"]).lists()[0][:1]
    with (
        pytest.warns(UserWarning, match=r"'items' .*got x"),
        pytest.raises(ValueError, match="got none"),
    ):
        recommender.recommend(items=["x"])
    with pytest.warns(UserWarning, match=r"'ids' .*got x"):
        ids, _ = recommender.similar_items(["x", "i03"], 2)
    assert ids[0].tolist() == ["", ""]
    assert ids[1, 0] == "i03"
    with pytest.raises(ValueError, match=r"'item' must be .*got x"):
        recommender.explain("ü1", "x")
    with pytest.raises(ValueError, match=r"error, warn \(got 'skip'\)"):
        Recommender(model, dataset, unknown="skip")


def test_lists_for_nobody(make_recommender: Any) -> None:
    """A mistyped id must not lift a restriction."""
    recommender = make_recommender(LightGCN)
    # Someone who did not ask, and someone who did and is not known:
    lists = {"ü3": ITEMS[:2], "new": ITEMS[3:5]}
    for option in ("items", "exclude_items"):
        found = recommender.recommend(["ü1", "new"], k=2, **{option: lists})
        is_in = set(found.lists()[1]) <= set(ITEMS[3:5])
        assert is_in == (option == "items")
        match = rf"'{option}' must have keys .*got 1 other\(s\): new\)"
        with pytest.raises(ValueError, match=match):
            recommender.recommend(["ü1"], k=2, **{option: lists})
        history = {"new": ["i07"]}  # Asked for, and not in the data set.
        recommender.recommend(history=history, k=2, **{option: lists})
        with pytest.raises(ValueError, match="got 1 other"):
            recommender.similar_items(["i01"], **{option: {"i0l": ITEMS[:9]}})
        other = replace(recommender, unknown="warn")
        with pytest.warns(UserWarning, match=match):
            other.recommend(["ü1"], k=2, **{option: lists})


def test_groups_by_keys_of_one_text(make_recommender: Any) -> None:
    recommender = make_recommender(LightGCN, names=False)
    groups = {1: "a", "1": "b"}
    with pytest.raises(ValueError, match=r"'groups' .*2 keys, but 1 texts"):
        recommender.recommend(max_per_group=1, groups=groups)


@pytest.mark.parametrize("model", [LightGCN, TMFUN])
def test_scores_of_items_that_nobody_chose(
    make_recommender: Any, model: Any
) -> None:
    """They mean nothing in a model of IDs alone."""
    x = {"visual": np.ones((2, 8)), "text": np.ones((2, 5))}
    recommender = make_recommender(model, cold=(["new1", "new2"], x))
    calls = (
        (True, lambda: recommender.recommend(["ü1"], k=30)),
        (False, lambda: recommender.recommend(["nobody"], k=30)),
        (False, lambda: recommender.score(["nobody"], ["new1"])),
        (False, lambda: recommender.recommend(["ü1"], items=ITEMS[:5])),
        (False, lambda: recommender.recommend(exclude_items=["new1", "new2"])),
        (True, lambda: recommender.score(["ü1"], ["new1"])),
        (False, lambda: recommender.score(["ü1"], ["i01"])),
    )
    for concerns_them, call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        texts = [str(x.message) for x in caught]
        told = [text for text in texts if "mean nothing" in text]
        assert len(told) == (concerns_them and model is LightGCN)
        assert all("LightGCN" in text and "new1" in text for text in told)

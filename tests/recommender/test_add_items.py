from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tmfun_pyg.baselines import ContentKNN, ContentRidge
from tmfun_pyg.nn import TMFUN, LightGCN
from tmfun_pyg.recommender import Recommender

NUM_ITEMS = 25


def all_scores(recommender: Recommender) -> torch.Tensor:
    scorer = recommender.scorer
    return scorer.score(torch.arange(scorer.num_users))


def test_known_scores(make_recommender: Any, features: Any) -> None:
    recommender = make_recommender()
    more = recommender.add_items(["x", "y", "z"], features)
    before, after = all_scores(recommender), all_scores(more)
    assert after.shape == (30, NUM_ITEMS + 3)
    assert torch.equal(after[:, :NUM_ITEMS], before)
    assert after[:, NUM_ITEMS:].abs().min() > 0
    # Lists of known items as well, whatever is added behind them:
    old = recommender.dataset.item_ids
    found, expected = more.recommend(items=old), recommender.recommend()
    assert (found.item_id == expected.item_id).all()
    assert (found.score == expected.score).all()


def test_items_that_were_cold(make_recommender: Any, features: Any) -> None:
    """They get the estimates of ColdItems, and warm items keep their scores."""
    ids = ["i90", "i91", "i92"]
    recommender = make_recommender(cold=(ids, features))
    one = {name: x[:1] for name, x in features.items()}
    more = recommender.add_items(["x"], one)
    estimated = replace(recommender, cold_items=True)
    before, after = all_scores(recommender), all_scores(more)
    assert torch.equal(after[:, :NUM_ITEMS], before[:, :NUM_ITEMS])
    cold = after[:, NUM_ITEMS:-1]
    assert torch.allclose(cold, all_scores(estimated)[:, NUM_ITEMS:], rtol=1e-4)
    assert not torch.allclose(cold, before[:, NUM_ITEMS:], rtol=0.1)


@pytest.mark.parametrize("cls", [TMFUN, ContentKNN, ContentRidge])
def test_copies(make_recommender: Any, features: Any, cls: Any) -> None:
    recommender = make_recommender(cls)
    assert recommender.dataset.fingerprint  # Known before items are added.
    more = recommender.add_items(["x", "y", "z"], features)
    assert more.cold_items == (cls is TMFUN)
    assert more.model.training == recommender.model.training
    assert more.dataset[0]["item"].num_nodes == NUM_ITEMS + 3
    assert more.dataset.item_ids[NUM_ITEMS:].tolist() == ["x", "y", "z"]
    cold = more.recommend(k=3, items=["x", "y", "z"])
    assert np.isfinite(cold.score).all()
    assert more.dataset.fingerprint != recommender.dataset.fingerprint
    assert recommender.model.num_items == NUM_ITEMS
    assert len(recommender.dataset.item_ids) == NUM_ITEMS
    assert recommender.dataset[0]["item"].num_nodes == NUM_ITEMS
    with pytest.raises(ValueError, match=r"'items' must .*\(got x\)"):
        recommender.recommend(items=["x"])


def test_explained(make_recommender: Any, features: Any) -> None:
    more = make_recommender().add_items(["x", "y", "z"], features)
    for item in ("y", "i07"):
        found = more.explain("ü3", item)
        score = more.recommend(["ü3"], 1, [item], exclude_seen=False).score
        assert found.score == pytest.approx(float(score[0, 0]), rel=1e-5)
        assert found.is_cold == (item == "y")


def test_cold_embeddings(make_recommender: Any, features: Any) -> None:
    recommender = make_recommender()
    more = recommender.add_items(["x", "y", "z"], features)
    old, new = recommender.scorer, more.scorer
    # Users have profiles beside their embeddings, for cold items alone:
    width = old.item_emb.size(1)
    assert torch.equal(old.user_emb, new.user_emb[:, :width])
    assert torch.equal(old.item_emb, new.item_emb[:NUM_ITEMS, :width])
    assert not new.item_emb[:NUM_ITEMS, width:].any()
    # By content alone, whatever comes with them:
    alone = recommender.add_items(
        ["y"], {name: x[1:2] for name, x in features.items()}
    )
    assert torch.allclose(
        alone.scorer.item_emb[-1], new.item_emb[-2], atol=1e-5
    )
    twice = {name: x[[1, 1, 2]] for name, x in features.items()}
    emb = recommender.add_items(["p", "q", "r"], twice).scorer.item_emb
    assert torch.equal(emb[-3], emb[-2])
    assert not torch.allclose(emb[-2], emb[-1], rtol=0.1)


def test_one_after_the_other(make_recommender: Any, features: Any) -> None:
    recommender = make_recommender()
    parts = [
        {name: x[rows] for name, x in features.items()}
        for rows in (slice(0, 2), slice(2, 3))
    ]
    more = recommender.add_items(["x", "y"], parts[0])
    more = more.add_items(["z"], parts[1])
    assert more.dataset.item_ids[NUM_ITEMS:].tolist() == ["x", "y", "z"]
    scores = all_scores(more)
    assert torch.equal(scores[:, :NUM_ITEMS], all_scores(recommender))


def test_integers(make_recommender: Any, features: Any) -> None:
    recommender = make_recommender(names=False)
    more = recommender.add_items([100, 99, 70], features)
    assert more.dataset.item_ids.dtype == np.int64
    found = more.recommend([3, 5], k=3, items=[70, 99, 100])
    assert {*found.item_id[0].tolist()} == {70, 99, 100}
    assert more.similar_items([99], k=1)[0].tolist() == [[99]]
    # As text, not as what Python reads as integers:
    for name in ("07", "1_000", "\u0667", str(2**63)):
        with pytest.raises(
            ValueError, match=f"must be integers.*'{name}'.*id_type='str'"
        ):
            recommender.add_items(["100", name, "99"], features)


def test_bad_items(make_recommender: Any, features: Any) -> None:
    recommender = make_recommender()
    for ids, match in (
        (["x", "i03", "y"], r"new to the data set.* 1 item\(s\): i03"),
        (["x", "y", "x"], r"each given once.* 1 item\(s\): x"),
        (["x", "y ", "z"], r"spaces around them \(got 'y '"),
        (["x", "y\nz", "z"], r"without line breaks.* \(got 'y\\nz'"),
        (["x", "y"], r"features\['visual'\] must .* each of 2 ids .*3"),
        ([], "at least one id"),
    ):
        with pytest.raises(ValueError, match=match):
            recommender.add_items(ids, features)
    with pytest.raises(ValueError, match="must be integers"):
        make_recommender(names=False).add_items(["x", "y", "z"], features)
    with pytest.raises(ValueError, match=r"\(got LightGCN\)"):
        make_recommender(LightGCN).add_items(["x", "y", "z"], features)


def test_kinds_of_features(make_recommender: Any, features: Any) -> None:
    """As in a data set: numbers of any type and order of bytes."""
    recommender = make_recommender()
    x = np.round(features["visual"] * 4)
    expected = recommender.add_items(["x", "y", "z"], {"visual": x})
    for value in (
        x.astype(">f4"),
        x.astype(np.int8),
        torch.from_numpy(x).bfloat16().requires_grad_(),
        x.tolist(),
    ):
        found = recommender.add_items(["x", "y", "z"], {"visual": value})
        assert torch.equal(all_scores(found), all_scores(expected))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((3, 8), "1"), r"must hold numbers \(got <U1\)"),
        (np.full((3, 8), "NaT", "M8[s]"), "must hold numbers .*datetime64"),
        (np.full((3, 8), 1j), "must hold numbers .*complex"),
        (np.full((3, 8), None), "must hold numbers .*object"),
        (np.array(1.0), r"must have the shape .*\[\]"),
        (None, r"must have the shape .*\[\]"),
        (np.ones((3, 8, 1)), r"must have the shape .*\[3, 8, 1\]"),
        (np.diag([1.0, np.nan, 1.0]), r".* finite .* 1 item\(s\): y\); mend"),
        ([[1.0], [1.0, 2.0], [1.0]], r".* dense matrix \(got a list: "),
        (torch.ones(3, 8).to_sparse(), r".* dense matrix \(got a Tensor: "),
    ],
)
def test_features_that_are_none(
    make_recommender: Any, features: Any, value: Any, message: str
) -> None:
    features["text"] = value
    with pytest.raises(ValueError, match=rf"^features\['text'\] {message}"):
        make_recommender().add_items(["x", "y", "z"], features)


def test_items_without_content(make_recommender: Any, features: Any) -> None:
    for x in features.values():
        x[1] = 0
    with pytest.raises(ValueError, match=r"got none for 1 item\(s\): y\)"):
        make_recommender().add_items(["x", "y", "z"], features)


@pytest.mark.parametrize("value", [None, np.ones((3, 8)), ["visual"]])
def test_features_by_no_modality(make_recommender: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="'features' must be a dictionary"):
        make_recommender().add_items(["x", "y", "z"], value)


def test_projected(make_recommender: Any, features: Any) -> None:
    old = make_recommender(feature_channels=6)
    assert list(old.dataset.projections) == ["visual"]
    ids = ["x", "y", "z"]
    later = old.add_items(ids, features).dataset
    first = make_recommender(feature_channels=6, cold=(ids, features)).dataset
    assert later.item_ids.tolist() == first.item_ids.tolist()
    assert list(later.projections) == ["visual"]
    for modality, width in (("visual", 6), ("text", 5)):
        a, b = (d[0]["item"][f"x_{modality}"] for d in (later, first))
        assert a.shape == (NUM_ITEMS + 3, width)
        assert torch.allclose(a, b, atol=1e-6)
    wrong = features | {"visual": features["visual"][:, :6]}
    message = r"features\['visual'\] must be of shape \[num_items, 8\], before"
    with pytest.raises(ValueError, match=message):
        old.add_items(ids, wrong)

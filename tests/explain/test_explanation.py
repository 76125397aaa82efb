import json
import re
import sys

import pytest
import torch

from tmfun_pyg.explain import Explanation

MODALITIES = ["visual", "textual"]
PATHS = ["collaborative", *(f"modality:{m}" for m in MODALITIES), "item_graph"]
VALUES = [
    [0.5, 0.25, -0.125, 0.0],
    [0.25, -0.125, 0.0, 0.25],
    [-1.0, 0.0, 0.0, 0.0],
]


@pytest.fixture
def explanation():
    return Explanation(
        model="TMFUN",
        user=3,
        item=7,
        user_id="u$3",
        item_id="i7",
        score=0.5,
        user_part=0.5,
        paths=PATHS,
        history=torch.tensor([4, 2, 9]),
        history_ids=["i$4", "i$2", "i9"],
        contributions=torch.tensor(VALUES, dtype=torch.double),
        user_weights={"visual": 0.25, "textual": 0.75},
        item_weights={"visual": 0.5, "textual": 0.5},
        is_cold=False,
        is_seen=False,
    )


def test_text(explanation):
    assert str(explanation) == explanation.to_text()
    assert explanation.to_text(1).splitlines() == [
        "TMFUN gives item i7 a score of 0.5 for user u$3, the sum of:",
        "      +0.625  item i$4 (user-item graph +0.5, visual +0.25, "
        "textual -0.125, item graph +0)",
        "      -0.625  2 other items of the user (user-item graph -0.75, "
        "visual -0.125, textual +0, item graph +0.25)",
        "        +0.5  the user's own embedding",
        "Attention, user: visual 25%, textual 75%",
        "Attention, item: visual 50%, textual 50%",
        "Attention, user and item together: visual 25%, textual 75%",
    ]


@pytest.mark.parametrize("num_items", [0, 1, 2, 3, 9])
def test_what_is_shown_sums_to_the_score(explanation, num_items):
    text = explanation.to_text(num_items)
    shown = re.findall(r"^ +([+-][\d.]+) ", text, re.MULTILINE)
    assert sum(map(float, shown)) == explanation.score
    assert len(re.findall(r"  item i", text)) == min(num_items, 3)
    assert ("1 other item of" in text) == (num_items == 2)
    assert ("  3 items of" in text) == (num_items == 0)


def test_dict(explanation):
    found = json.loads(explanation.to_json())
    assert found == {
        "model": "TMFUN",
        "user": {"index": 3, "id": "u$3"},
        "item": {"index": 7, "id": "i7", "is_cold": False, "is_seen": False},
        "score": 0.5,
        "user_part": 0.5,
        "paths": dict(zip(PATHS, [-0.25, 0.125, -0.125, 0.25], strict=True)),
        "history": [
            {
                "index": index,
                "id": raw,
                "contribution": total,
                "paths": dict(zip(PATHS, value, strict=True)),
            }
            for index, raw, total, value in zip(
                [4, 2, 9],
                ["i$4", "i$2", "i9"],
                [0.625, 0.375, -1.0],
                VALUES,
                strict=True,
            )
        ],
        "modality_weights": {
            "user": {"visual": 0.25, "textual": 0.75},
            "item": {"visual": 0.5, "textual": 0.5},
            "pair": {"visual": 0.25, "textual": 0.75},
        },
    }


def test_bars_are_the_contributions(explanation):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    explanation.plot(ax, num_items=2)
    bars = [[bar.get_width() for bar in group] for group in ax.containers]
    rows = [*VALUES, [0.0] * 4]
    assert bars[:4] == [list(column) for column in zip(*rows, strict=True)]
    assert bars[4] == [0.0, 0.0, 0.0, 0.5]
    # The second item: to the right of zero but for the negative part.
    left = [group[1].get_x() for group in ax.containers]
    assert left[:4] == [0.0, 0.0, 0.25, 0.25]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [
        r"item i\$4",
        r"item i\$2",
        "1 other item of the user",
        "the user's own embedding",
    ]
    figure.canvas.draw()  # No id is read as a formula.


def test_picture(explanation, tmp_path):
    pytest.importorskip("matplotlib")
    explanation.plot(tmp_path / "why.png")
    explanation.plot(str(tmp_path / "why.svg"))
    assert (tmp_path / "why.png").read_bytes()[1:4] == b"PNG"
    assert "<svg" in (tmp_path / "why.svg").read_text()
    with pytest.raises(ValueError, match="xyz"):
        explanation.plot(tmp_path / "why.xyz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["why.png", "why.svg"]


def test_without_matplotlib(explanation, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"tmfun-pyg\[plot\]"):
        explanation.plot(tmp_path / "why.png")


def test_negative_number_of_items(explanation):
    with pytest.raises(ValueError, match="'num_items' must not be negative"):
        explanation.to_text(-1)


def test_pyg(explanation):
    found = explanation.to_pyg()
    assert found.validate()
    assert found["user"].n_id.tolist() == [3]
    edges = found["user", "interacts", "item"]
    assert edges.edge_mask.tolist() == [0.625, 0.375, -1.0]
    assert found["item"].n_id[edges.edge_index[1]].tolist() == [4, 2, 9]
    top = found.threshold("topk_hard", 1)["user", "interacts", "item"]
    assert top.edge_mask.tolist() == [1.0, 0.0, 0.0]
    kept = found.get_explanation_subgraph()["user", "interacts", "item"]
    assert kept.edge_index.tolist() == [[0, 0], [0, 1]]

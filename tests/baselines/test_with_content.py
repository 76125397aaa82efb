import pytest
import torch
from toy_data import NUM_USERS

from tmfun_pyg.baselines import EASE, ContentKNN, WithContent
from tmfun_pyg.testing import RankingModelTests

USERS = torch.arange(NUM_USERS)


class TestWithContent(RankingModelTests):
    model_cls = WithContent
    options = {"base": "ItemKNN", "base_options": {"k": 5}}


def test_sum_of_both(data, graph):
    model = WithContent.from_data(
        data, base_options={"reg_weight": 2.0}, content_weight=0.5
    )
    model.fit(graph)
    parts = EASE.from_data(data, reg_weight=2.0), ContentKNN.from_data(data)
    expected = 0.0
    for part, weight in zip(parts, (1.0, 0.5), strict=True):
        part.fit(graph)
        scores = part.scorer(graph).score(USERS)
        spread = (scores - scores.mean(1, keepdim=True)).pow(2).mean(1).sqrt()
        expected += weight * scores / spread.clamp(min=1e-12).view(-1, 1)
    scorer = model.scorer(graph)
    torch.testing.assert_close(scorer.score(USERS), expected)
    # Spread is that over all items, whichever are asked for:
    item = torch.tensor([5, 0])
    some = scorer.select(item)
    assert some.num_items == 2
    assert torch.equal(some.score(USERS), scorer.score(USERS)[:, item])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "Nothing"}, r"'base' must be one of .*'EASE'.*Nothing"),
        (
            {"base_options": {"nope": 5}},
            r"'base_options' .* of EASE, \['reg_weight'\] \(got \['nope'\]\)",
        ),
        ({"content_weight": -1.0}, "'content_weight' must be at least 0"),
    ],
)
def test_bad_options(data, options, message):
    with pytest.raises(ValueError, match=message):
        WithContent.from_data(data, **options)

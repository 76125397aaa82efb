import inspect

import pytest

import tmfun_pyg.baselines
import tmfun_pyg.nn
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training.search_spaces import SPACES, space_of


def find(name):
    return getattr(tmfun_pyg.nn, name, None) or getattr(
        tmfun_pyg.baselines, name
    )


@pytest.mark.parametrize("name", SPACES)
def test_options_are_those_of_the_model(name):
    options = set(inspect.signature(find(name)).parameters)
    assert set(SPACES[name]) - {"lr"} <= options
    is_trained = hasattr(tmfun_pyg.nn, name)
    assert ("lr" in SPACES[name]) == is_trained
    # No model is denied the better loss:
    assert ("softmax_negatives" in SPACES[name]) == (
        "softmax_negatives" in options
    )
    # Every choice can be taken:
    sizes = {"num_users": 600, "num_items": 600}
    if "in_channels" in options:
        sizes["in_channels"] = {"visual": 4}
    for option, choices in SPACES[name].items():
        for choice in choices if option != "lr" else []:
            find(name)(**sizes, **{option: choice})


def test_every_model_with_a_loss_has_a_space():
    names = {
        name
        for name in tmfun_pyg.nn.__all__
        if isinstance(cls := getattr(tmfun_pyg.nn, name), type)
        and issubclass(cls, RankingModel)
        and not name.endswith("Model")
    }
    assert names <= set(SPACES)


def test_what_is_given_is_a_choice():
    assert space_of("BPRMF", {"lr": 0.01, "reg_weight": 1e-3}) == {
        "lr": [1e-3, 2e-3, 4e-3, 0.01],
        "reg_weight": [1e-4, 1e-3, 1e-2],
    }


def test_words_come_after_numbers():
    choices = space_of("BPRMF", {"softmax_negatives": 128})
    assert choices == {"softmax_negatives": [0, 16, 64, 128, 256, 1024, "auto"]}
    assert space_of("BPRMF", {"softmax_negatives": "auto"}) == {
        "softmax_negatives": [0, 16, 64, 256, 1024, "auto"]
    }

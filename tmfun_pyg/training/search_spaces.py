"""The search space of each model."""

from typing import Any, Dict, List, Mapping, Tuple

# Trained models have a learning rate; closed-form models do not.
RATE: Dict[str, List[Any]] = {"lr": [1e-3, 2e-3, 4e-3], "channels": [64, 128]}
LOSS = {**RATE, "softmax_negatives": [0, 16, 64, 256, 1024, "auto"]}
FACTORS = {**LOSS, "reg_weight": [1e-4, 1e-3, 1e-2]}
LAYERS = {**LOSS, "reg_weight": [1e-4, 1e-3], "num_layers": [2, 3, 4]}
CONTRAST = {**LAYERS, "contrastive_weight": [0.003, 0.01, 0.03, 0.1]}
NEIGHBORS: Dict[str, List[Any]] = {"k": [20, 50, 100, 200, 500]}

#: The choices of each option, by the class of the model.
SPACES: Dict[str, Dict[str, List[Any]]] = {
    "BPRMF": FACTORS,
    "LightGCN": LAYERS,
    "SimGCL": {**CONTRAST, "eps": [0.1, 0.2]},
    "VBPR": FACTORS,
    "MMGCN": LAYERS,
    "LATTICE": {**LAYERS, "skip_weight": [0.5, 0.9]},
    "MICRO": {**CONTRAST, "skip_weight": [0.5, 0.9]},
    "BM3": {  # It has no ranking loss.
        **RATE,
        "reg_weight": [1e-4, 1e-3],
        "num_layers": [1, 2, 3],
        "dropout": [0.3, 0.5],
    },
    "FREEDOM": {
        **LAYERS,
        "prune": [0.0, 0.5, 0.8],
        "feature_weight": [1e-5, 1e-3],
    },
    "MGCN": CONTRAST,
    "MMGCF": {
        **LAYERS,
        "num_layers": [1, 2, 3],
        "fusion": ["mean", "sum", "concat"],
        "weighting": ["equal", "alpha", "normalized"],
        "prune": [0.0, 0.2, 0.5, 0.8],
    },
    "TMFUN": {
        **CONTRAST,
        "pair_weight": [0.0, 0.01],
        "neighbors": [0, 20, 100],
    },
    "ItemKNN": {**NEIGHBORS, "shrinkage": [0.0, 1.0, 10.0, 100.0, 1000.0]},
    "RP3beta": {
        **NEIGHBORS,
        "alpha": [0.4, 0.7, 1.0, 1.3],
        "beta": [0.0, 0.2, 0.4, 0.6, 0.8],
        "num_hops": [3, 5],
    },
    "EASE": {
        "reg_weight": [
            *(10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
        ]
    },
    "GFCF": {
        "channels": [32, 64, 128, 256, 512],
        "alpha": [0.0, 0.1, 0.3, 1.0, 3.0],
    },
    "ContentRidge": {"reg_weight": [0.1, 1.0, 10.0, 100.0, 1000.0]},
    "IALS": {
        "channels": [32, 64, 128, 256],
        "alpha": [1.0, 3.0, 10.0, 30.0, 100.0],
        "reg_weight": [0.01, 0.1, 1.0, 10.0],
    },
    "WithContent": {
        "content_weight": [0.03, 0.1, 0.2, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0]
    },
}


def space_of(model: str, given: Mapping[str, Any]) -> Dict[str, List[Any]]:
    """Returns the choices of the given options in ascending order, strings
    last. The given values are choices, too.

    Args:
        model: The class of the model.
        given: The values to try first. Options without a space are ignored.
    """
    return {
        option: sorted({given[option], *choices}, key=_numbers_first)
        for option, choices in SPACES[model].items()
        if option in given
    }


def _numbers_first(choice: Any) -> Tuple[bool, float, str]:
    is_number = isinstance(choice, (int, float))
    return not is_number, choice if is_number else 0, str(choice)

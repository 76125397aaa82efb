import re
import runpy
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "hetero_conv.py"


def test_gains_from_the_layer_without_features(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(PATH), "--epochs", "2"])
    runpy.run_path(str(PATH), run_name="__main__")
    rows = re.findall(
        r"features: (\w+), FeatureGraphConv: (\w+) +(0\.\d{4}) +0\.\d{4}\n",
        capsys.readouterr().out,
    )
    val = {(features, conv): float(value) for features, conv, value in rows}
    assert len(val) == 4
    assert val["False", "True"] > 1.2 * val["False", "False"] > 0
    assert val["True", "False"] > val["False", "False"]

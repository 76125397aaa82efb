import re
import runpy
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "graphsage.py"


def test_gains_from_the_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(PATH), "--epochs", "2"])
    runpy.run_path(str(PATH), run_name="__main__")
    rows = re.findall(
        r"content: (\w+) +(0\.\d{4}) +(0\.\d{4})\n", capsys.readouterr().out
    )
    assert [name for name, *_ in rows] == ["none", "features", "layers"]
    val = {name: float(value) for name, value, _ in rows}
    assert val["layers"] > 1.2 * val["none"] > 0

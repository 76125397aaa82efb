import re
import runpy
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "custom_model.py"


def test_gains_from_the_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(PATH), "--epochs", "2"])
    runpy.run_path(str(PATH), run_name="__main__")
    out = capsys.readouterr().out
    _, plain, with_content = map(float, re.findall(r"0\.\d{4}", out))
    assert "LightGCN of PyG" in out
    assert with_content > 1.2 * plain > 0

"""What a release is made of."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import tmfun_pyg

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tmfun_pyg"


@pytest.fixture
def project() -> Any:
    tomllib = pytest.importorskip("tomllib")  # Of Python 3.11 or later.
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_file_is_in_the_wheel(project: Any) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["tmfun_pyg"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file()}
    files -= {path for path in files if path.parent.name == "__pycache__"}
    modules = {path for path in files if path.suffix == ".py"}
    assert PACKAGE / "py.typed" in packed
    assert files - modules == packed
    for folder in {path.parent for path in modules}:
        assert folder / "__init__.py" in modules


def test_one_version(project: Any) -> None:
    assert project["project"]["dynamic"] == ["version"]
    attr = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attr == "tmfun_pyg._version.__version__"
    assert tmfun_pyg.__version__ == tmfun_pyg._version.__version__


def test_oldest_versions_are_those_declared(project: Any) -> None:
    declared = [
        requirement.replace(">=", "==")
        for requirement in project["project"]["dependencies"]
    ]
    lines = (ROOT / "constraints-oldest.txt").read_text("utf-8").splitlines()
    pins = [line.removesuffix(".0") for line in lines if line[0] != "#"]
    assert [pin.split("==")[0] for pin in pins] == ["torch", "torch_geometric"]
    assert set(pins) <= set(declared)


def test_hooks_have_the_versions_of_ci() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    found = {
        re.split(r"[/-]", hook["repo"])[-1]: hook["rev"]
        for hook in hooks["repos"]
        if hook["repo"] != "local"
    }
    ruff, codespell = (
        re.search(rf"^{name}==(\S+)", pins, re.MULTILINE)
        for name in ("ruff", "codespell")
    )
    assert ruff is not None
    assert codespell is not None
    assert found == {"commit": f"v{ruff[1]}", "codespell": f"v{codespell[1]}"}


def test_files_of_the_project_are_yaml() -> None:
    paths = [ROOT / "CITATION.cff", ROOT / ".readthedocs.yml"]
    paths += (ROOT / ".github").rglob("*.yml")
    assert len(paths) == 6
    for path in paths:
        assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict), path

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    "package",
    [
        "baselines",
        "datasets",
        "evaluation",
        "explain",
        "loader",
        "nn",
        "recommender",
        "report",
        "testing",
        "training",
        "transforms",
    ],
)
def test_documents_all_public_names(package):
    pages = "".join(page.read_text("utf-8") for page in DOCS.rglob("*.md"))
    pattern = rf"\.\. auto(?:class|function):: (tmfun_pyg\.{package}\.\w+)\n"
    names = importlib.import_module(f"tmfun_pyg.{package}").__all__
    expected = {f"tmfun_pyg.{package}.{name}" for name in names}
    assert expected == set(re.findall(pattern, pages))

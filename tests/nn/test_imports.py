import subprocess
import sys

import pytest

CODE = """
import sys
for name in ("lightning", "pytorch_lightning", "torchmetrics", "pandas",
             "pyarrow", "matplotlib", "torch_sparse", "torch_scatter"):
    sys.modules[name] = None  # Makes any import of it fail.
import MODULE
"""


@pytest.mark.parametrize("name", ["nn", "baselines", "testing"])
def test_needs_torch_and_pyg_alone(name):
    """And pytest, for the tests that a model inherits."""
    code = CODE.replace("MODULE", f"tmfun_pyg.{name}")
    subprocess.run([sys.executable, "-c", code], check=True)

import subprocess
import sys

CODE = """
import sys
for name in ("lightning", "pytorch_lightning", "torchmetrics", "pandas",
             "pyarrow", "matplotlib", "torch_sparse", "torch_scatter"):
    sys.modules[name] = None  # Makes any import of it fail.
from tmfun_pyg.nn import (
    TMFUN, FeatureGraphConv, ModalityAttention, MultiStepFusion,
)
"""


def test_nn_needs_torch_and_pyg_alone():
    subprocess.run([sys.executable, "-c", CODE], check=True)

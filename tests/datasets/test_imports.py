import subprocess
import sys

CODE = """
import sys

# As if these were not installed.
for name in ("pyarrow", "lightning", "torchmetrics", "matplotlib"):
    sys.modules[name] = None

from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.transforms import FeatureGraph

assert not any(name.startswith("tmfun_pyg.nn") for name in sys.modules)
MultimodalRecDataset(sys.argv[1], "toy", pre_transform=FeatureGraph(2))
SyntheticMultimodal(50, 40)
log = sys.argv[1] + "/log.parquet"
open(log, "w").close()
try:
    MultimodalRecDataset.from_interactions(log, {})
except ImportError as err:
    assert 'pip install "tmfun-pyg[data]"' in str(err)
else:
    raise AssertionError
"""


def test_needs_core_dependencies_alone(make_raw):
    subprocess.run([sys.executable, "-c", CODE, make_raw()], check=True)

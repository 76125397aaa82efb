"""What a training step must not do."""

import pytest
import torch
import torch.nn.functional as F
from every_model import MODELS
from tmfun_pyg.nn.models.multimodal_graph import MultimodalGraph
from torch.utils._python_dispatch import TorchDispatchMode
from toy_data import make_data

from tmfun_pyg.nn import BPRMF

# Operations that a GPU's host has to wait for, or that convert a layout:
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "repeat_interleave",
    "masked_select",
}
WAITS |= {"_unique", "_unique2", "unique_dim", "bincount"}
CONVERTS = {
    "_to_sparse_csr",
    "to_sparse_csr",
    "_convert_indices_from_csr_to_coo",
}


class Operations(TorchDispatchMode):
    """Collects the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("model_cls", MODELS)
def test_the_host_never_waits(model_cls, missing, batch, monkeypatch):
    """Runs on the CPU what a GPU would be given."""
    user_means = MultimodalGraph.user_means

    def as_on_a_gpu(self, sources, user=None):
        means = user_means(self, sources)
        return means if user is None else [F.embedding(user, m) for m in means]

    monkeypatch.setattr(MultimodalGraph, "user_means", as_on_a_gpu)
    model = model_cls.from_data(make_data(2, missing), channels=4)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    with Operations() as operations:
        sum(model.loss(*batch).values()).backward()
        optimizer.step()
    if model_cls is not BPRMF:  # All others have products.
        assert operations.names & {"addmm", "mm"}
    assert not operations.names & (WAITS | CONVERTS)

"""What a training step must not do."""

import importlib

import pytest
import torch
from every_model import MODELS
from torch.utils._python_dispatch import TorchDispatchMode
from toy_data import make_data

from tmfun_pyg.nn import BPRMF
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.schema import INTERACTS, REVERSE

# Operations that a GPU's host has to wait for, or that convert a layout:
WAITS = {"_local_scalar_dense", "nonzero", "repeat_interleave", "masked_select"}
WAITS |= {"_unique", "_unique2", "unique_dim", "bincount"}
CONVERTS = {
    "_to_sparse_csr",
    "to_sparse_csr",
    "_convert_indices_from_csr_to_coo",
}
SORTS = {"sort", "argsort"}


class Operations(TorchDispatchMode):
    """Collects the names of all operations, with the sizes of what is sorted
    by them.
    """

    def __init__(self):
        super().__init__()
        self.names, self.sorted_sizes = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.names.add(name)
        if name in SORTS:
            self.sorted_sizes.add(args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("model_cls", MODELS)
def test_the_host_never_waits(model_cls, missing, batch, monkeypatch):
    """Runs on the CPU what a GPU would be given."""
    for name, function in (
        ("user_content", "_has_few_entries"),
        ("neighbor_score", "_is_by_rows"),
    ):
        module = importlib.import_module(f"tmfun_pyg.nn.models.{name}")
        monkeypatch.setattr(module, function, lambda *_: False)
    graph = ToRecGraph()(make_data(2, missing))
    model = model_cls.from_data(graph, channels=4)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    prepared = model.prepare(graph, epoch=0)
    with Operations() as operations:
        sum(model.loss(prepared, *batch).values()).backward()
        optimizer.step()
    if model_cls is not BPRMF:  # All others have products.
        assert operations.names & {"addmm", "mm"}
    assert not operations.names & (WAITS | CONVERTS)
    # Of the graph, everything is sorted once and for all:
    assert all(size <= len(batch[0]) for size in operations.sorted_sizes)
    # Each direction of the interactions is the other's transpose:
    for edge_type in (INTERACTS, REVERSE):
        assert graph[edge_type].edge_index._T_perm is None

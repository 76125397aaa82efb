"""Time and memory of propagation, steps and ranking, next to alternatives.

    python benchmarks/speed.py --root DIR --data sports
    python benchmarks/speed.py --data x100 --parts propagation step sampled

Alternatives are measured in the same run, so that ratios hold on a noisy
machine. A bound is the time in which the bytes that have to be moved could be
copied, and the dense products could be done at the rate of a large one; both
rates are measured first. The alternatives are PyG's `LightGCN` on a plain
edge_index, trained as in PyG's example, and the same with `torch.sparse.mm` on
a COO tensor, as in most published code.

Times are the best of several runs. Memory is the peak relative to the start of
a part, gradients and optimizer states included. `--data` names a set in
--root, whose interactions are real, or a generated graph: x10 has 10 times the
users, items and interactions of Sports, x100 a million users, 500,000 items
and 20 million interactions. The features are two modalities of 128 random
numbers each.
"""

import argparse
import copy
from functools import partial
from typing import Any, Callable, Dict, Type

import torch
from _graphs import SIZES, all_nodes, load_graph
from _measure import FLOAT, HEAD, Bench, flops_of
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import HeteroData
from torch_geometric.nn import LGConv
from torch_geometric.nn.models import LightGCN as PyGLightGCN

from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.loader import (
    InteractionDataset,
    InteractionSampler,
    SampledInteractionDataset,
)
from tmfun_pyg.nn import (
    TMFUN,
    FeatureGraphConv,
    InteractionPropagation,
    LightGCN,
    ModalityAttention,
    MultiStepFusion,
    RankingModel,
    info_nce,
)
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.transforms import ToRecGraph

NUM_LAYERS = 4
INDEX_AND_VALUE = 8  # Bytes per entry of a sparse matrix.
LARGE = 1_000_000  # Nodes beyond which alternatives are too slow or large.
Function = Callable[[], Any]


def propagation(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> None:
    """One layer over each graph, forward and backward."""

    def bound(num_edges: int, num_rows: int) -> float:
        row = args.channels * FLOAT
        once = num_edges * (row + INDEX_AND_VALUE) + num_rows * row
        return bench.bound(2 * once)

    size = data.num_nodes
    probe = torch.randn(size, args.channels, device=bench.device)
    num_edges = 2 * data["user", "interacts", "item"].num_edges
    for name, function in propagation_ways(data, probe).items():
        bench.measure("propagation", name, function, bound(num_edges, size))
    store = data["item", "similar_m0", "item"]
    x = torch.randn_like(probe[: data["item"].num_nodes]).requires_grad_()
    graph = store.edge_index, store.edge_weight
    conv = FeatureGraphConv(args.channels)
    bench.measure(
        "feature graph",
        "FeatureGraphConv",
        lambda: _gradient(lambda: conv(x, *graph), x, x.detach()),
        bound(store.num_edges, len(x)),
    )


def propagation_ways(data: HeteroData, probe: Tensor) -> Dict[str, Function]:
    """Returns functions that backpropagate through one layer; ours also
    averages with the layer's input.
    """
    sizes = [data["user"].num_nodes, data["item"].num_nodes]
    probes, layer = probe.split(sizes), InteractionPropagation(num_layers=1)
    tables = [torch.randn_like(probe).requires_grad_() for probe in probes]
    ours = partial(_gradient, lambda: layer(*tables, data), tables, probes)
    if data.num_nodes > LARGE:
        return {"ours": ours}
    edge_index, weight, coo = all_nodes(data, probe.device)
    x = torch.cat(tables).detach().requires_grad_()
    conv, plain = LGConv(normalize=False), edge_index.as_tensor()
    outs: Dict[str, Function] = {
        "EdgeIndex.matmul": lambda: edge_index.matmul(x, weight),
        "COO": lambda: torch.sparse.mm(coo, x),
        "edge_index (LGConv)": lambda: conv(x, plain, weight),
    }
    others = {k: partial(_gradient, out, x, probe) for k, out in outs.items()}
    return {"ours": ours, **others}


def _gradient(out: Function, x: Any, probe: Any) -> Any:
    return torch.autograd.grad(out(), x, probe)


def layers(bench: Bench, data: HeteroData, args: argparse.Namespace) -> None:
    """The dense layers of TMFUN, forward and backward, on rows of a step."""
    channels, rows = args.channels, 3 * args.batch_size

    def draw(*size: int) -> Tensor:
        x = torch.randn(*size, channels, device=bench.device)
        return x.requires_grad_()

    attention = ModalityAttention(channels, channels).to(bench.device)
    fusion = MultiStepFusion(channels, 3, "gate", channels).to(bench.device)
    x, query, sources = draw(rows, 2), draw(rows), list(draw(3, rows))
    views, user = draw(2, args.batch_size), torch.arange(args.batch_size)
    user = user.to(bench.device) // 2
    outs: Dict[str, Function] = {
        "ModalityAttention": lambda: attention(x, query),
        "MultiStepFusion": lambda: fusion(query, sources, query),
        "info_nce": lambda: info_nce(*views, index=user),
    }
    for name, out in outs.items():
        function = partial(lambda out: out().sum().backward(), out)
        bound = bench.bound(flops=flops_of(function))
        bench.measure("layers", name, function, bound)


def batches(data: HeteroData, args: argparse.Namespace) -> "DataLoader[Any]":
    """The batches of training."""
    edge_index = data["user", "interacts", "item"].edge_index
    dataset = InteractionDataset(edge_index, data["user"].num_nodes)
    sampler = InteractionSampler(dataset, args.batch_size)
    return DataLoader(dataset, batch_size=None, sampler=sampler)


def training_step(
    model: torch.nn.Module, loss: Callable[..., Tensor]
) -> Callable[..., None]:
    """Returns a training step with Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(*batch: Any) -> None:
        optimizer.zero_grad()
        loss(*batch).backward()
        optimizer.step()

    return step


def step_of(
    cls: Type[RankingModel], data: HeteroData, **options: Any
) -> Callable[..., None]:
    """Returns a training step of one of our models."""
    device = data["user", "interacts", "item"].edge_index.device
    model = cls.from_data(data, **options).to(device)
    graph = model.prepare(data, epoch=0)  # As at the start of each epoch.
    return training_step(model, lambda *b: sum(model.loss(graph, *b).values()))


def step_of_pyg(
    data: HeteroData, args: argparse.Namespace, coo: bool = False
) -> Callable[..., None]:
    """Returns a step of PyG's model, as in PyG's example."""
    edge_index, _, matrix = all_nodes(data, args.device)
    adj = matrix if coo else edge_index.as_tensor()
    model = PyGLightGCN(data.num_nodes, args.channels, NUM_LAYERS)
    if coo:
        model.convs = torch.nn.ModuleList(COOConv() for _ in model.convs)
    model = model.to(args.device)
    num_users = data["user"].num_nodes

    def loss(user: Tensor, pos_item: Tensor, neg_item: Tensor) -> Tensor:
        positive = torch.stack([user, pos_item + num_users])
        negative = torch.stack([user, neg_item[:, 0] + num_users])
        label = torch.cat([positive, negative], dim=1)
        pos_rank, neg_rank = model(adj, label).chunk(2)
        return model.recommendation_loss(
            pos_rank, neg_rank, node_id=label.unique()
        )

    return training_step(model, loss)


class COOConv(torch.nn.Module):
    """A layer of LightGCN as in most published code."""

    def forward(self, x: Tensor, adj: Tensor, weight: None) -> Tensor:
        """Propagates."""
        return torch.sparse.mm(adj, x)


def step(bench: Bench, data: HeteroData, args: argparse.Namespace) -> None:
    """Whole training steps on the whole graph."""
    batch = next(iter(batches(data, args)))
    sizes = {"channels": args.channels, "num_layers": NUM_LAYERS}
    makers = {
        "TMFUN": partial(step_of, TMFUN, data, **sizes),
        "LightGCN": partial(step_of, LightGCN, data, **sizes),
        "PyG's LightGCN on edge_index": partial(step_of_pyg, data, args),
        "PyG's LightGCN on COO": partial(step_of_pyg, data, args, coo=True),
    }
    for name in list(makers)[: 2 if data.num_nodes > LARGE else 4]:
        one = partial(makers[name](), *batch)
        bench.measure("step, 4 layers", name, one)
        del one


def epoch(bench: Bench, data: HeteroData, args: argparse.Namespace) -> None:
    """A pass over all interactions, and its share for making batches."""
    loader = batches(data, args)

    def run(one: Callable[..., None]) -> None:
        for batch in loader:
            one(*batch)

    for cls in (LightGCN, TMFUN):
        function = partial(run, step_of(cls, data, channels=args.channels))
        bench.measure("epoch", cls.__name__, function, repeats=1)
        del function
    function = partial(run, lambda *batch: None)
    bench.measure("epoch", "order and negatives alone", function)


def ranking(bench: Bench, data: HeteroData, args: argparse.Namespace) -> None:
    """Ranking of all items for all users, with all metrics."""
    user_emb, item_emb = (
        torch.randn(store.num_nodes, args.channels, device=bench.device)
        for store in (data["user"], data["item"])
    )

    def plain() -> None:
        for block in user_emb.split(max(1, 2**23 // len(item_emb))):
            (block @ item_emb.t()).topk(min(50, len(item_emb)))

    def ours() -> None:
        evaluate((user_emb, item_emb), data, "test")

    bench.measure("ranking", "a plain product and topk", plain, repeats=2)
    bench.measure("ranking", "evaluate", ours, repeats=2)


def sampled(bench: Bench, data: HeteroData, args: argparse.Namespace) -> None:
    """A step of TMFUN on a sampled neighborhood, with sparse gradients."""
    data = copy.copy(data).to("cpu")
    dataset = SampledInteractionDataset(data, [10, 5], num_similar=5)
    sizes = {"channels": args.channels, "num_layers": 2}
    model = TMFUN.from_data(data, sparse=True, **sizes).to(bench.device)
    optimizers = RecommenderModule(model, data).configure_optimizers()
    index = torch.randperm(len(dataset))[: args.batch_size]

    def step() -> None:
        batch = dataset[index].to(bench.device)
        user, item = batch["user"].src_index, batch["item"]
        items = item.dst_pos_index, item.dst_neg_index
        loss = sum(model.loss(batch, user, *items).values())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    name = f"TMFUN, 2 layers, {dataset[index].num_edges} edges"
    bench.measure("sampled step", name, step)
    bench.measure("sampled step", "drawing alone", lambda: dataset[index])


PARTS = {
    part.__name__: part
    for part in (propagation, layers, step, epoch, ranking, sampled)
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--root", help="folder of the data sets")
    add("--data", default="sports", help=f"a set, or {', '.join(SIZES)}")
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--channels", type=int, default=64)
    add("--batch-size", type=int, default=2048)
    add("--repeats", type=int, default=8)
    add("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()

    bench = Bench(args.device, args.repeats)
    data = ToRecGraph()(load_graph(args.data, args.root)).to(bench.device)
    print(f"{vars(args)}\n{data}\n{bench.describe()}\n\n{HEAD}")
    for part in args.parts:
        PARTS[part](bench, data, args)


if __name__ == "__main__":
    main()

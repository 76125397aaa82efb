"""Time and memory of everything TMFUN does, beside bounds and other ways.

    python benchmarks/speed.py --root DIR --data sports
    python benchmarks/speed.py --data x100 --parts propagation step sampled

Every part is measured in one run with what it is compared to, so that ratios
hold on a noisy machine:

- the bound: bytes that have to be moved over the rate of a large copy, plus
  products of dense matrices over the rate of a large one, both measured first;
- PyG's `LightGCN` on a plain edge_index, trained by the loop of PyG's example;
- the same model with `torch.sparse.mm` on COO tensors, over all nodes.

Times are the best of several runs, forward, backward and optimizer where there
is one. Memory is the peak above the start of the part. `--data` names a set in
--root, whose interactions are real, or a generated graph: x10 has 10 times the
users, items and interactions of Sports, x100 a million users, 500,000 items
and 20 million interactions. Features are drawn always: two modalities of 128.
"""

import argparse
import copy
import ctypes
import gc
import time
from functools import partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
)

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric import EdgeIndex, typing
from torch_geometric.data import HeteroData
from torch_geometric.nn import LGConv
from torch_geometric.nn.models import LightGCN as PyGLightGCN

from tmfun_pyg.datasets import MultimodalRecDataset
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.loader import (
    InteractionDataset,
    InteractionSampler,
    SampledInteractionDataset,
)
from tmfun_pyg.nn import (
    TMFUN,
    EmbeddingTable,
    LightGCN,
    ModalityAttention,
    MultiStepFusion,
    info_nce,
)
from tmfun_pyg.training import RecommenderModule
from tmfun_pyg.transforms import FeatureGraph
from tmfun_pyg.utils.retrieval import user_blocks

GENERATED = {"x10": 10, "x100": 100}
KS = (5, 10, 20, 50)
FLOAT = 4  # Bytes.
INDEX_AND_VALUE = 8  # Bytes an entry of a sparse matrix takes.


class Row(NamedTuple):
    """A line of the table."""

    part: str
    variant: str
    seconds: Optional[float]
    memory: Optional[float] = None
    bound: Optional[float] = None
    note: str = ""


class Bench:
    """Measures on one device."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device = torch.device(args.device)
        self.repeats = args.repeats
        side = 4096 if self.device.type == "cuda" else 2048
        a = torch.randn(side, side, device=self.device)
        self.flop_rate = 2 * side**3 / self.time(lambda: a @ a)
        a = torch.randn(2**26, device=self.device)
        b = torch.empty_like(a)
        self.byte_rate = 2 * FLOAT * 2**26 / self.time(lambda: b.copy_(a))

    def time(
        self, function: Callable[[], Any], repeats: Optional[int] = None
    ) -> float:
        """Returns the shortest time of several runs after a first one."""
        repeats = repeats or self.repeats
        if repeats > 1:
            function()
        return min(self._once(function) for _ in range(repeats))

    def _once(self, function: Callable[[], Any]) -> float:
        if self.device.type == "cuda":
            start = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start.record()
            function()
            end.record()
            torch.cuda.synchronize()
            return start.elapsed_time(end) / 1e3
        begin = time.perf_counter()
        function()
        return time.perf_counter() - begin

    def row(
        self,
        part: str,
        variant: str,
        function: Callable[[], Any],
        bound: Optional[float] = None,
        note: str = "",
        repeats: Optional[int] = None,
    ) -> Row:
        """Measures time and memory."""
        gc.collect()
        before = self._reset_peak()
        seconds = self.time(function, repeats)
        row = Row(part, variant, seconds, self._peak() - before, bound, note)
        print(show(row, None), flush=True)
        return row

    def _reset_peak(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / 2**20
        # What the allocator holds back would hide what is asked for next.
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Linux: the peak begins anew.
        return _status("VmRSS")

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return _status("VmHWM")

    def bound(self, num_bytes: float = 0, flops: float = 0) -> float:
        """Returns the least time for some work."""
        return num_bytes / self.byte_rate + flops / self.flop_rate


def _status(name: str) -> float:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) / 2**10
    raise RuntimeError(f"/proc/self/status does not tell {name}")


def flops_of(function: Callable[[], Any]) -> int:
    """Counts the products of dense matrices."""
    counter = FlopCounterMode(display=False)
    with counter:
        function()
    return counter.get_total_flops()


# Data ------------------------------------------------------------------------


def load(args: argparse.Namespace) -> HeteroData:
    """Reads or generates the graph, and draws features."""
    torch.manual_seed(0)
    if args.data in GENERATED:
        data = generate(GENERATED[args.data])
    else:
        data = MultimodalRecDataset(args.root, args.data, modalities=[])[0]
    num_items = data["item"].num_nodes
    for m in range(2):
        data["item"][f"x_m{m}"] = torch.randn(num_items, 128)
    if args.data in GENERATED:
        # Similar items at random: neighbors lie as far apart as can be.
        for m in range(2):
            store = data["item", f"similar_m{m}", "item"]
            dst = torch.arange(num_items).repeat_interleave(10)
            src = torch.randint(num_items, dst.shape)
            store.edge_index = torch.stack([src, dst])
            store.edge_weight = torch.full(dst.shape, 0.1)
    else:
        data = FeatureGraph(k=10)(data)
    return data


def generate(times: int) -> HeteroData:
    """Draws users of 3 or more interactions and items of unequal fame."""
    if times == 100:
        num_users, num_items, num_edges = 1_000_000, 500_000, 20_000_000
    else:
        num_users, num_items = 35_598 * times, 18_357 * times
        num_edges = 218_409 * times
    user = torch.rand(num_edges).pow(1.5).mul(num_users).long()
    user[: 3 * num_users] = torch.arange(num_users).repeat(3)
    item = torch.rand(num_edges).pow(2).mul(num_items).long()
    item[:num_items] = torch.arange(num_items)
    item = torch.randperm(num_items)[item]
    pair = (user * num_items + item).unique()
    edge_index = torch.stack([pair // num_items, pair % num_items])
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = num_users, num_items
    store = data["user", "interacts", "item"]
    store.edge_index = edge_index
    store.test_edge_label_index = torch.stack(
        [torch.arange(num_users), torch.randint(num_items, (num_users,))]
    )
    data["item", "rev_interacts", "user"].edge_index = edge_index.flip(0)
    return data


# Parts -----------------------------------------------------------------------


def propagation(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """One layer over the user-item graph, forward and backward."""
    device, channels = bench.device, args.channels
    model = LightGCN.from_data(data, channels=channels, num_layers=1).to(
        device
    )
    num_users, num_items = model.num_users, model.num_items
    num_nodes = num_users + num_items
    user, item = data["user", "interacts", "item"].edge_index.to(device)
    num_edges = 2 * user.numel()
    once = num_edges * (channels * FLOAT + INDEX_AND_VALUE)
    once += num_nodes * channels * FLOAT
    bound = bench.bound(2 * once)
    part = "propagation"

    tables = [model.user_embedding.weight, model.item_embedding.weight]
    probes = [torch.randn_like(table) for table in tables]
    yield bench.row(
        part,
        "ours",
        lambda: torch.autograd.grad(
            model.propagation(*tables, model.graph), tables, probes
        ),
        bound,
    )

    if num_nodes > 1_000_000:
        return  # What follows would not fit, or take minutes.
    x = torch.cat(tables).detach().requires_grad_()
    probe = torch.cat(probes)
    edge_index, weight, coo = symmetric(user, item, num_users, num_items)
    csr = coo.to_sparse_csr()
    conv = LGConv(normalize=False)

    def product(adj: Any) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(adj @ x, x, probe)

    ways: Dict[str, Callable[[], Any]] = {
        "CSR, plain autograd": product(csr),
        "COO": product(coo),
        "edge_index (LGConv)": lambda: torch.autograd.grad(
            conv(x, edge_index, weight), x, probe
        ),
    }
    sorted_index, perm = EdgeIndex(
        edge_index, sparse_size=(num_nodes, num_nodes), is_undirected=True
    ).sort_by("row")
    sorted_weight = weight[perm]
    sorted_index.fill_cache_()
    ways["EdgeIndex"] = lambda: torch.autograd.grad(
        sorted_index.matmul(x, sorted_weight), x, probe
    )
    if typing.WITH_TORCH_SPARSE:
        from torch_sparse import SparseTensor

        sparse = SparseTensor.from_torch_sparse_csr_tensor(csr)
        sparse.fill_cache_()
        ways["torch_sparse"] = product(sparse)
    for name, function in ways.items():
        yield bench.row(part, name, function, bound)


def symmetric(
    user: Tensor, item: Tensor, num_users: int, num_items: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """The normalized graph of all nodes as edges, weights and COO tensor."""
    index = torch.stack([user, item + num_users])
    index = torch.cat([index, index.flip(0)], dim=1)
    num_nodes = num_users + num_items
    scale = torch.bincount(index[0], minlength=num_nodes).float().rsqrt()
    weight = scale[index].prod(dim=0)
    size = (num_nodes, num_nodes)
    coo = torch.sparse_coo_tensor(index, weight, size).coalesce()
    return index, weight, coo


def layers(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """The dense layers on the rows of a batch, forward and backward."""
    rows, channels = 3 * args.batch_size, args.channels
    device = bench.device

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, channels, device=device, requires_grad=True)

    x, query = draw(rows, 2), draw(rows)
    attention = ModalityAttention(channels, channels).to(device)
    fusion = MultiStepFusion(channels, 3, "gate", channels).to(device)
    sources = [draw(rows) for _ in range(3)]
    a, b = draw(args.batch_size), draw(args.batch_size)
    index = torch.randint(data["user"].num_nodes, a.shape[:1], device=device)
    for name, function in {
        "ModalityAttention": lambda: attention(x, query).sum().backward(),
        "MultiStepFusion": lambda: (
            fusion(query, sources, query).sum().backward()
        ),
        "info_nce": lambda: info_nce(a, b, index=index).backward(),
    }.items():
        bound = bench.bound(flops=flops_of(function))
        yield bench.row(name, "ours", function, bound)


def batches(
    data: HeteroData, args: argparse.Namespace, device: torch.device
) -> "DataLoader[Any]":
    """The batches of training."""
    dataset = InteractionDataset(
        data["user", "interacts", "item"].edge_index.to(device),
        data["user"].num_nodes,
    )
    sampler = InteractionSampler(dataset, args.batch_size)
    return DataLoader(dataset, batch_size=None, sampler=sampler)


def stepper(model: Any, loss: Callable[..., Any]) -> Callable[..., None]:
    """Returns a training step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(*batch: Any) -> None:
        optimizer.zero_grad()
        loss(*batch).backward()
        optimizer.step()

    return step


def total(loss: Callable[..., Dict[str, Tensor]]) -> Callable[..., Tensor]:
    """Adds the parts of a loss."""
    return lambda *batch: torch.stack(list(loss(*batch).values())).sum()


def step(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """Whole training steps with Adam."""
    device = bench.device
    batch = next(iter(batches(data, args, device)))
    sizes = {"channels": args.channels}
    tmfun = TMFUN.from_data(data, **sizes).to(device)
    num_layers = tmfun.num_layers
    parts = step_parts(bench, tmfun, batch)
    bound = sum(bound for _, bound in parts.values())
    # Adam reads four values of each weight and writes three:
    weights = sum(parameter.numel() for parameter in tmfun.parameters())
    bound += bench.bound(7 * FLOAT * weights)
    repeats = 1 if data["user"].num_nodes >= 1_000_000 else None

    def run(name: str, model: Any, loss: Any, *args: Any, **kw: Any) -> Row:
        one = stepper(model, loss)
        return bench.row(
            "step", name, lambda: one(*args), repeats=repeats, **kw
        )

    yield run("TMFUN", tmfun, total(tmfun.loss), *batch, bound=bound)
    for name, (function, bound) in parts.items():
        yield bench.row("step", f"of it, {name}", function, bound)
    del parts, function
    for depth in (num_layers, 3):
        model = LightGCN.from_data(data, num_layers=depth, **sizes).to(device)
        name = f"LightGCN, {depth} layers"
        yield run(name, model, total(model.loss), *batch)
    if data["user"].num_nodes > 1_000_000 // 2:
        return
    del model
    yield run(
        f"PyG's LightGCN on edge_index, {num_layers} layers",
        *example_of_pyg(data, num_layers, args, device),
        batch,
    )
    lightgcn, tmfun = (
        with_coo(cls.from_data(data, num_layers=num_layers, **sizes), data)
        for cls in (LightGCN, TMFUN)
    )
    for name, model, loss in (
        (f"LightGCN on COO, {num_layers} layers", lightgcn, lightgcn.loss),
        ("TMFUN on COO, all nodes", tmfun, partial(loss_of_all, tmfun)),
    ):
        yield run(name, model.to(device), total(loss), *batch)


def step_parts(
    bench: Bench, model: TMFUN, batch: List[Tensor]
) -> Dict[str, Tuple[Callable[[], Any], float]]:
    """What a step of TMFUN is made of, forward and backward, each part with
    its bound: the rows gathered and written, or the dense products.
    """
    graph, channels, device = model.graph, model.channels, bench.device
    row = channels * FLOAT
    entry = row + INDEX_AND_VALUE
    users, items = model.num_users, model.num_items
    size = batch[0].numel()
    degree = int(graph.to_user.ptr.diff()[batch[0]].sum())
    num_sources = len(model.modalities) + 1

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, channels, device=device, requires_grad=True)

    user_emb, item_emb = draw(users), draw(items)
    probes = draw(users).detach(), draw(items).detach()
    rows = [draw(3 * size) for _ in range(num_sources)]
    mask = None
    if not graph.is_complete:
        mask = graph.item_mask[:1].expand(3 * size, -1)
    views = [x[: model.contrast_size or size] for x in rows]
    node = batch[0][: model.contrast_size or size]

    def propagate() -> None:
        out = model.propagation(user_emb, item_emb, graph)
        torch.autograd.backward(out, probes)

    def gates() -> None:
        for name in model.modalities:
            gate = model.behavior_gates[name](graph.features(name)).sigmoid()
            gate.backward(probes[1])

    def similar() -> None:
        for name in model.modalities:
            for _ in range(2):  # Gated and plain.
                model._convolve(item_emb, graph, name).backward(probes[1])

    def means() -> None:
        sources = [item_emb] * num_sources
        out = graph.user_means(sources, batch[0])
        torch.autograd.backward(out, [probes[0][:size]] * num_sources)

    def fuse() -> None:
        out, _ = model._fuse(rows, rows[0], mask)
        out.backward(rows[0].detach())

    def contrast() -> None:
        for _ in range(2):  # Users and items.
            info_nce(views[0], views[1], index=node).backward()

    edges = graph.to_user.value.numel()
    moved = model.num_layers * (2 * edges * entry + (users + items) * row)
    of_similar = sum(
        2 * (matrix.value.numel() * entry + items * row)
        for matrix in graph.similar.values()
    )
    of_means = num_sources * (degree * entry + size * row)
    return {
        "propagation": (propagate, bench.bound(2 * moved)),
        "gates": (gates, bench.bound(flops=flops_of(gates))),
        "feature graphs": (similar, bench.bound(2 * of_similar)),
        "means of users": (means, bench.bound(2 * of_means)),
        "fusion": (fuse, bench.bound(flops=flops_of(fuse))),
        "contrast": (contrast, bench.bound(flops=flops_of(contrast))),
    }


def example_of_pyg(
    data: HeteroData,
    num_layers: int,
    args: argparse.Namespace,
    device: torch.device,
) -> Tuple[Any, Callable[[Any], Tensor]]:
    """PyG's model, and the loss of a batch as its example computes it."""
    num_users, num_items = data["user"].num_nodes, data["item"].num_nodes
    model = PyGLightGCN(num_users + num_items, args.channels, num_layers)
    user, item = data["user", "interacts", "item"].edge_index.to(device)
    edge_index = torch.stack([user, item + num_users])
    edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)

    def loss(batch: Any) -> Tensor:
        user, pos_item, _ = batch
        positive = torch.stack([user, pos_item + num_users])
        random = torch.randint(
            num_users, num_users + num_items, user.shape, device=device
        )
        label = torch.cat([positive, torch.stack([user, random])], dim=1)
        pos_rank, neg_rank = model(edge_index, label).chunk(2)
        return model.recommendation_loss(
            pos_rank, neg_rank, node_id=label.unique()
        )

    return model.to(device), loss


class COOMatrix(torch.nn.Module):
    """A matrix as most published code has it."""

    adj = None

    def __init__(self, adj_t: Tensor) -> None:
        super().__init__()
        self.register_buffer("adj_t", adj_t.to_sparse_coo().coalesce())

    def forward(self, x: Tensor) -> Tensor:
        """Multiplies."""
        return torch.sparse.mm(self.adj_t, x)


class COOPropagation(torch.nn.Module):
    """LightGCN as most published code has it."""

    def __init__(self, coo: Tensor, num_layers: int) -> None:
        super().__init__()
        self.matrix, self.num_layers = COOMatrix(coo), num_layers

    def forward(self, user: Tensor, item: Tensor, graph: Any) -> Any:
        """Propagates."""
        outs = [torch.cat([user, item])]
        for _ in range(self.num_layers):
            outs.append(self.matrix(outs[-1]))
        out = torch.stack(outs, dim=1).mean(dim=1)
        return out.split([user.size(0), item.size(0)])


def with_coo(model: Any, data: HeteroData) -> Any:
    """Replaces all sparse matrices of a model."""
    model = copy.deepcopy(model)
    user, item = data["user", "interacts", "item"].edge_index
    _, _, coo = symmetric(user, item, model.num_users, model.num_items)
    model.propagation = COOPropagation(coo, model.num_layers)
    model.graph.to_user = COOMatrix(model.graph.to_user.adj_t)
    if isinstance(model, TMFUN):
        for name, matrix in model.graph.similar.items():
            model.graph.similar[name] = COOMatrix(matrix.adj_t)
    return model


def loss_of_all(
    model: TMFUN, user: Tensor, pos_item: Tensor, neg_item: Tensor
) -> Dict[str, Tensor]:
    """TMFUN's loss from the fused representations of all nodes."""
    branches = model.encode()
    out = branches.collaborative + branches.content
    user_emb, item_emb = out.split([model.num_users, model.num_items])
    score = (user_emb[user] * item_emb[pos_item]).sum(dim=-1)
    negative = (user_emb[user] * item_emb[neg_item[:, 0]]).sum(dim=-1)
    parts = {"bpr": -F.logsigmoid(score - negative).mean()}
    for name, node in (
        ("users", user.unique()),
        ("items", pos_item.unique() + model.num_users),
    ):
        x = F.normalize(branches.content[node])
        y = F.normalize(branches.collaborative[node])
        logits = x @ y.t() / model.temperature
        label = torch.arange(node.numel(), device=node.device)
        parts[name] = 0.01 * F.cross_entropy(logits, label)
    parts["reg"] = 1e-4 * sum(
        emb.pow(2).sum() / user.numel()
        for emb in (
            model.user_embedding(user),
            model.item_embedding(pos_item),
            model.item_embedding(neg_item),
        )
    )
    return parts


def epoch(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """A pass over all interactions, and the part of it that makes batches."""
    device = bench.device
    loader = batches(data, args, device)

    def run(step: Optional[Callable[..., None]] = None) -> None:
        for batch in loader:
            if step is not None:
                step(*batch)

    for cls in (TMFUN, LightGCN):
        model = cls.from_data(data, channels=args.channels).to(device)
        one = stepper(model, total(model.loss))
        row = bench.row("epoch", cls.__name__, partial(run, one), repeats=1)
        yield row
        del model, one
    sampling = bench.row("epoch", "order and negatives alone", run)
    share = sampling.seconds / row.seconds
    yield sampling._replace(note=f"{share:.1%} of LightGCN's epoch")


def evaluation(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """Full ranking of all items for all users, all metrics."""
    device = bench.device
    user_emb, item_emb = (
        torch.randn(data[name].num_nodes, args.channels, device=device)
        for name in ("user", "item")
    )

    def plain() -> None:
        user = torch.arange(user_emb.size(0), device=device)
        for block in user_blocks(user, item_emb.size(0)):
            (user_emb[block] @ item_emb.t()).topk(max(KS))

    bound = bench.time(plain, 2)
    yield bench.row(
        "evaluation",
        "ours",
        lambda: evaluate((user_emb, item_emb), data, "test", KS),
        bound,
        note="bound: a plain product and topk",
        repeats=2,
    )


def feature_graph(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """The neighbors of all items, of one modality."""
    items = HeteroData()
    x = items["item"].x_m = data["item"].x_m0.to(bench.device)
    block_size = max(1, 2**24 // len(x))

    def plain() -> None:
        unit = F.normalize(x)
        for block in unit.split(block_size):
            (block @ unit.t()).topk(11)

    bound = bench.time(plain, 1)
    yield bench.row(
        "FeatureGraph",
        "ours",
        lambda: FeatureGraph(k=10)(copy.copy(items)),
        bound,
        note="bound: a plain product and topk",
        repeats=1,
    )


def sampled(
    bench: Bench, data: HeteroData, args: argparse.Namespace
) -> Iterator[Row]:
    """A step of TMFUN on a sampled neighborhood, with sparse gradients."""
    dataset = SampledInteractionDataset(data, [10, 5], num_similar=5)
    model = TMFUN(
        data["user"].num_nodes,
        data["item"].num_nodes,
        {"m0": 128, "m1": 128},
        args.channels,
        num_layers=2,
        table=partial(EmbeddingTable, sparse=True),
    ).to(bench.device)
    optimizers = RecommenderModule(model).configure_optimizers()
    index = torch.randperm(len(dataset))[: args.batch_size]

    def step() -> None:
        batch = dataset[index].to(bench.device)
        loss = torch.stack(list(model.sampled_loss(batch).values())).sum()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    batch = dataset[index]
    edges = sum(store.edge_index.size(1) for store in batch.edge_stores)
    yield bench.row(
        "sampled step",
        "TMFUN, 2 layers, [10, 5] neighbors, 5 similar",
        step,
        note=f"{batch['user'].num_nodes} users, "
        f"{batch['item'].num_nodes} items, "
        f"{batch['similar_item'].num_nodes} similar items, {edges} edges",
    )
    yield bench.row("sampled step", "of it, drawing", lambda: dataset[index])


PARTS: Dict[str, Callable[..., Iterator[Row]]] = {
    "propagation": propagation,
    "layers": layers,
    "step": step,
    "epoch": epoch,
    "evaluation": evaluation,
    "feature_graph": feature_graph,
    "sampled": sampled,
}


def show(row: Row, first: Optional[Row]) -> str:
    """Formats a line of the table."""
    cells = [row.part, row.variant, f"{1e3 * row.seconds:,.1f}"]
    cells.append(f"{max(row.memory, 0):,.0f}")
    cells.append(f"{row.seconds / row.bound:.2f}" if row.bound else "")
    ratio = first is not None and first is not row
    cells.append(f"{row.seconds / first.seconds:.2f}" if ratio else "")
    cells.append(row.note)
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--root", help="folder of the data sets")
    add("--data", default="sports", help="a data set, x10 or x100")
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--channels", type=int, default=64)
    add("--batch-size", type=int, default=2048)
    add("--repeats", type=int, default=8)
    add("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()

    data = load(args)
    bench = Bench(args)
    name = "CPU"
    if bench.device.type == "cuda":
        name = torch.cuda.get_device_name()
    print(
        f"{args.data}: {data['user'].num_nodes} users, "
        f"{data['item'].num_nodes} items, "
        f"{data['user', 'interacts', 'item'].num_edges} interactions; batch "
        f"{args.batch_size}, {args.channels} channels; {name}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; copy "
        f"{bench.byte_rate / 1e9:.1f} GB/s, product "
        f"{bench.flop_rate / 1e9:.0f} GFLOP/s\n"
    )
    table = []
    for part in args.parts:
        rows = list(PARTS[part](bench, data, args))
        first: Dict[str, Row] = {}
        for row in rows:
            first.setdefault(row.part, row)
            table.append(show(row, first[row.part]))
    print(
        "\n| part | variant | ms | peak MiB | x bound | x first | note |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    print("\n".join(table))


if __name__ == "__main__":
    main()

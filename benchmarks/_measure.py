"""Time and peak memory of a function on one device, and their bounds."""

import ctypes
import gc
import time
from functools import cached_property
from typing import Any, Callable, Dict, Optional

import torch
from torch.utils.flop_counter import FlopCounterMode

FLOAT = 4  # Bytes.
HEAD = """\
| part | variant | ms | peak MiB | x bound | x first |
| --- | --- | --- | --- | --- | --- |"""


class Bench:
    """Measures on one device, and prints a line of a table each time.

    Args:
        device: The device, "cpu" or "cuda".
        repeats: The number of runs of a function, after a warm-up run. The
            shortest time counts. With 1, there is no warm-up.
    """

    def __init__(self, device: str, repeats: int) -> None:
        self.device = torch.device(device)
        self.repeats = repeats
        self._first: Dict[str, float] = {}

    @cached_property
    def flop_rate(self) -> float:
        """Operations per second in a large dense product."""
        side = 4096 if self.device.type == "cuda" else 2048
        x = torch.randn(side, side, device=self.device)
        return 2 * side**3 / self.time(lambda: x @ x)

    @cached_property
    def byte_rate(self) -> float:
        """Bytes per second, read and written, in a large copy."""
        x = torch.randn(2**26, device=self.device)
        y = torch.empty_like(x)
        return 2 * FLOAT * x.numel() / self.time(lambda: y.copy_(x))

    def bound(self, num_bytes: float = 0, flops: float = 0) -> float:
        """Returns the minimum time for some work."""
        return num_bytes / self.byte_rate + flops / self.flop_rate

    def time(
        self, function: Callable[[], Any], repeats: Optional[int] = None
    ) -> float:
        """Returns the shortest time of several runs."""
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

    def measure(
        self,
        part: str,
        variant: str,
        function: Callable[[], Any],
        bound: Optional[float] = None,
        repeats: Optional[int] = None,
    ) -> None:
        """Measures time and peak memory relative to the start."""
        before = reset_peak(self.device.type)
        seconds = self.time(function, repeats)
        memory = max(peak(self.device.type) - before, 0)
        first = self._first.setdefault(part, seconds)
        cells = [part, variant, f"{1e3 * seconds:,.2f}", f"{memory:,.0f}"]
        cells.append(f"{seconds / bound:.2f}" if bound else "")
        cells.append(f"{seconds / first:.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)

    def describe(self) -> str:
        """Returns the conditions that the figures depend on."""
        name = "CPU"
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        return (
            f"{name}, {torch.get_num_threads()} threads, torch "
            f"{torch.__version__}; copy {self.byte_rate / 1e9:.1f} GB/s, "
            f"product {self.flop_rate / 1e9:.0f} GFLOP/s"
        )


def reset_peak(device: str) -> float:
    """Resets the peak, and returns the memory in use, in MiB."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    # Memory cached by the allocator would hide the next allocations.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # Linux: resets the peak to the memory in use.
    return _status("VmRSS")


def peak(device: str) -> float:
    """Returns the peak memory since the last reset, in MiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return _status("VmHWM")


def _status(name: str) -> float:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) / 2**10


def flops_of(function: Callable[[], Any]) -> int:
    """Counts the operations in dense matrix products."""
    counter = FlopCounterMode(display=False)
    with counter:
        function()
    return counter.get_total_flops()

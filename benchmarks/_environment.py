"""Commit, versions and hardware, which belong to every figure."""

import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict

import torch

import tmfun_pyg


@cache
def find_commit() -> str:
    """Returns the commit of this process: that of its first call."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always"]
    git += ["--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.check_output(
            git, text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_environment(device: torch.device) -> Dict[str, Any]:
    """Returns commit, versions and hardware."""
    versions = {
        "python": platform.python_version(),
        "tmfun_pyg": tmfun_pyg.__version__,
    }
    for package in ("torch", "torch_geometric", "lightning", "optuna"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    hardware: Dict[str, Any] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        hardware["cpu"] = found[1] if found else hardware["cpu"]
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return {
        "commit": find_commit(),
        "versions": versions,
        "hardware": hardware,
    }

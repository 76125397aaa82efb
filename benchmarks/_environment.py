"""Commit, versions and hardware, recorded with every result."""

import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict

import torch

import tmfun_pyg


@cache
def find_commit() -> str:
    """Returns the commit at the first call in this process."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always"]
    git += ["--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def describe_environment() -> Dict[str, Any]:
    """Returns commit, versions and hardware."""
    packages = ("torch", "torch_geometric", "lightning", "numpy")
    versions = {package: version(package) for package in packages}
    versions["python"] = platform.python_version()
    versions["tmfun_pyg"] = tmfun_pyg.__version__
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"model name\s*:\s*(.+)", text)
        cpu = found[1] if found else cpu
    hardware = {"cpu": cpu, "cores": os.cpu_count()}
    hardware["threads"] = torch.get_num_threads()
    if torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    return {"commit": find_commit(), "versions": versions, "hardware": hardware}

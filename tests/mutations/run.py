"""Breaks the package in one place at a time, and runs the test that must fail.

    python tests/mutations/run.py [WORD]

Each entry of mutations.toml, or each that holds WORD, is applied to a copy of
the package. Needs Python 3.11 and a system that forks: PyTorch is imported
once, and the package anew in each child.
"""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

import pytest
import tomllib
import torch_geometric  # noqa: F401 (the children need not import it)

ROOT = Path(__file__).parents[2]
TIMEOUT = 300  # Seconds for a test.


def run_tests(folder: Path, tests: List[str]) -> str:
    """Runs tests on the package in a folder, and returns how that ended."""
    log = folder / "log"
    child = os.fork()
    if child == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.alarm(TIMEOUT)  # Ends the child.
        sys.path.insert(0, str(folder))
        os.chdir(ROOT)
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])
        path = sys.modules["tmfun_pyg"].__file__ or ""
        os._exit(int(code) if path.startswith(str(folder)) else 99)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    found = {0: "survived", 1: "killed", -signal.SIGALRM: "hangs"}
    return found.get(code, f"error {code}:\n{log.read_text()[-2000:]}")


def judge(folder: Path, mutation: Dict[str, str]) -> str:
    """Applies a mutation, runs its test, and takes the mutation back."""
    path = folder / "tmfun_pyg" / mutation["file"]
    text = path.read_text()
    if text.count(mutation["old"]) != 1:
        return f"old text found {text.count(mutation['old'])} times"
    path.write_text(text.replace(mutation["old"], mutation["new"]))
    try:
        return run_tests(folder, [mutation["test"]])
    finally:
        path.write_text(text)


def main(word: str = "") -> None:
    """Judges the mutations, and prints a line for each."""
    text = (Path(__file__).parent / "mutations.toml").read_text()
    mutations = [
        mutation
        for mutation in tomllib.loads(text)["mutation"]
        if any(word in value for value in mutation.values())
    ]
    if not mutations:
        sys.exit(f"No mutation holds {word!r}")
    tests = sorted({mutation["test"] for mutation in mutations})
    sys.dont_write_bytecode = True  # It would be that of the last mutation.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(
            ROOT / "tmfun_pyg",
            folder / "tmfun_pyg",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        found = run_tests(folder, tests)
        if found != "survived":
            sys.exit(f"The tests must pass without a mutation: {found}")
        num_killed = 0
        for mutation in mutations:
            found = judge(folder, mutation)
            num_killed += found == "killed"
            change = f"{mutation['old']} -> {mutation['new']}"
            print(f"{found}: {mutation['file']}: {change}", flush=True)
    print(f"{num_killed} of {len(mutations)} killed")
    sys.exit(num_killed < len(mutations))


if __name__ == "__main__":
    main(*sys.argv[1:])

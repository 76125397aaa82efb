import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

import tmfun_pyg

CODE = """
import sys, types
from tmfun_pyg.cli.main import main

def score() -> None:
    'Tells whether a large tensor has the flag of huge pages.'
    import torch
    x = torch.empty(2**24)
    lines = open('/proc/self/smaps').read().splitlines()
    print(any(line[:8] == 'VmFlags:' and ' hg' in line for line in lines))

command = types.ModuleType('x')
command.score = score
sys.modules['tmfun_pyg.cli.score'] = command
sys.exit(main(['score']))
"""


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="Huge pages are Linux's",
)
@pytest.mark.parametrize("setting", [None, "0"])
def test_tensors_of_commands(setting: Optional[str], tmp_path: Path) -> None:
    """Have huge pages, unless the environment says otherwise."""
    env = {**os.environ, "PYTHONPATH": str(Path(tmfun_pyg.__file__).parents[1])}
    env.pop("THP_MEM_ALLOC_ENABLE", None)
    if setting is not None:
        env["THP_MEM_ALLOC_ENABLE"] = setting
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout == f"{setting != '0'}\n"

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from ranks import init_group, needs_gloo, run_ranks

from tmfun_pyg.nn.distributed import gather_rows, own_rows


def test_single_process() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert gather_rows(x) is x
    assert own_rows(3) == slice(0, 3)


def rows(rank: int, dtype: torch.dtype) -> torch.Tensor:
    # Transposed, so that rows do not follow one another in memory.
    return (torch.arange(6, dtype=dtype).view(2, 3) + 10 * rank).t()


@needs_gloo
def test_two_processes(tmp_path: Path) -> None:
    run_ranks(__file__, tmp_path)
    for rank in range(2):
        out = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for dtype in (torch.long, torch.float, torch.double):
            both = rows(0, dtype), rows(1, dtype)
            assert out[f"gather {dtype}"].dtype == dtype
            assert torch.equal(out[f"gather {dtype}"], torch.cat(both))
        both = rows(0, torch.float), rows(1, torch.float)
        assert torch.equal(out["own"], both[rank])


def main(folder: Path) -> None:
    rank = init_group(folder)
    out = {
        f"gather {dtype}": gather_rows(rows(rank, dtype))
        for dtype in (torch.long, torch.float, torch.double)
    }
    x = rows(rank, torch.float).requires_grad_()
    assert not gather_rows(x).requires_grad
    out["own"] = gather_rows(x)[own_rows(3)]
    torch.save(out, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

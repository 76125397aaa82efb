import pytest
import torch

from tmfun_pyg.utils.edges import check_pairs

PAIRS = [[0, 1, 1], [2, 0, 2]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_any_integers(dtype):
    found = check_pairs("x", torch.tensor(PAIRS, dtype=dtype), (2, 3))
    assert found.dtype == torch.long
    assert found.tolist() == PAIRS


def test_none():
    assert check_pairs("x", torch.empty(2, 0).long(), (2, 3)).numel() == 0


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (torch.tensor([0, 1]), r"x must be of shape .* \(got \[2\]\)"),
        (torch.zeros(3, 2).long(), r"\(got \[3, 2\]\)"),
        (torch.tensor(PAIRS).float(), "must hold integers .*float32"),
        (torch.tensor(PAIRS).bool(), "must hold integers .*bool"),
        (torch.tensor([[0, 2], [0, 0]]), r"x\[0\] .* 0 to 1 \(got 2\)"),
        (torch.tensor([[0, 1], [0, -1]]), r"x\[1\] .* 0 to 2 \(got -1\)"),
        (
            torch.tensor([[0, 1, 0, 0], [2, 2, 2, 2]]),
            r"each pair once \(got 2 repeated\): torch_geometric",
        ),
    ],
)
def test_bad_pairs(pairs, message):
    with pytest.raises(ValueError, match=message):
        check_pairs("x", pairs, (2, 3))

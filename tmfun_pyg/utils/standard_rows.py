from torch import Tensor, inf


def standard_rows(x: Tensor) -> Tensor:
    r"""Brings rows to zero mean and unit variance, whatever their scale, and
    constant ones to zero.

    Args:
        x (torch.Tensor): The rows, of shape :obj:`[num_rows, num_columns]`.
    """
    largest = x.abs().amax(dim=1, keepdim=True)
    x = x / largest.masked_fill(largest == 0, 1.0)
    x = x - x.mean(dim=1, keepdim=True)
    std = x.std(dim=1, correction=0, keepdim=True)
    # What rounding leaves of a constant row is no content:
    return x / std.masked_fill(std < 1e-6, inf)

from torch import Tensor, inf


def standard_rows(x: Tensor) -> Tensor:
    r"""Standardizes rows to zero mean and unit variance, whatever their scale.
    Constant rows become zero.

    Args:
        x (torch.Tensor): The rows, of shape :obj:`[num_rows, num_columns]`.
    """
    largest = x.abs().amax(dim=1, keepdim=True)
    x = x / largest.masked_fill(largest == 0, 1.0)
    x = x - x.mean(dim=1, keepdim=True)
    std = x.std(dim=1, correction=0, keepdim=True)
    # Rounding errors of a constant row are not content:
    return x / std.masked_fill(std < 1e-6, inf)

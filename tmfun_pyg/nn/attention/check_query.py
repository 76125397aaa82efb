from typing import Optional

from torch import Tensor


def check_query(
    query: Optional[Tensor], num_nodes: int, channels: Optional[int]
) -> None:
    r"""Checks a query from interaction data.

    Args:
        query (torch.Tensor, optional): The query.
        num_nodes (int): The number of nodes.
        channels (int, optional): Size of the query, :obj:`None` for no query.

    Raises:
        ValueError: If the query is missing, not expected, or of another shape.
    """
    if channels is None:
        if query is not None:
            raise ValueError("'query' must not be given without query_channels")
        return
    found = None if query is None else list(query.shape)
    if found != [num_nodes, channels]:
        raise ValueError(
            f"'query' must be of shape [{num_nodes}, {channels}] (got {found})"
        )

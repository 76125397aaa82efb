from torch import Tensor


def check_negatives(neg_emb: Tensor) -> None:
    r"""Checks that negatives have their own dimension, even a single one per
    positive item: otherwise, they would be broadcast.

    Args:
        neg_emb (torch.Tensor): The embeddings of the negatives.

    Raises:
        ValueError: If they do not have three dimensions.
    """
    if neg_emb.dim() != 3:
        raise ValueError(
            f"'neg_emb' must be of shape [batch_size, num_negatives, channels] "
            f"(got {list(neg_emb.shape)})"
        )

import numpy as np

from tmfun_pyg.datasets._log import Log


def keep_k_core(log: Log, k: int) -> Log:
    """Returns the k-core: users and items with fewer than ``k`` interactions
    are dropped until none are left.

    Raises:
        ValueError: If the k-core is empty.
    """
    while True:
        enough = np.bincount(log.user)[log.user] >= k
        enough &= np.bincount(log.item)[log.item] >= k
        if enough.all():
            break
        log = log.select(enough)
    if len(log.user) == 0:
        raise ValueError(
            f"'k_core' must leave some interactions of {log.source} (got {k}, "
            f"which leaves none)"
        )
    users, user = np.unique(log.user, return_inverse=True)
    items, item = np.unique(log.item, return_inverse=True)
    return log._replace(
        user_ids=log.user_ids[users],
        item_ids=log.item_ids[items],
        user=user,
        item=item,
    )

from typing import List

import numpy as np

# What is worth a sentence: users with so many times the median number of
# interactions, items whose cosine is so large on average, features of less
# than such a share of the items.
MANY_TIMES = 100
LARGE_COSINE = 0.9
SMALL_SHARE = 0.5


def suspect_users(user_ids: np.ndarray, count: np.ndarray) -> List[str]:
    """Tells of users with extreme numbers of interactions."""
    median = float(np.median(count))
    num_extreme = int((count > MANY_TIMES * median).sum())
    if num_extreme == 0:
        return []
    most = int(count.argmax())
    share = count[most] / count.sum()
    return [
        f"{num_extreme} user(s) have more than {MANY_TIMES} times the median "
        f"of {median:g} interactions, most of all user '{user_ids[most]}' "
        f"with {count[most]} ({share:.1%} of all): people, or programs?"
    ]


def suspect_features(
    modality: str,
    item_ids: np.ndarray,
    matrix: np.ndarray,
    norm: np.ndarray,
) -> List[str]:
    """Tells of features that hardly tell items apart.

    Args:
        modality (str): The name of the modality.
        item_ids (np.ndarray): The items that have it.
        matrix (np.ndarray): Their features, one row an item.
        norm (np.ndarray): The lengths of these rows.
    """
    num_items, num_features = matrix.shape
    out: List[str] = []
    if num_items == 1:
        return out
    constant = np.flatnonzero(matrix.min(axis=0) == matrix.max(axis=0))
    if len(constant) > 0:
        out.append(
            f"Modality '{modality}': {len(constant)} of {num_features} "
            f"features are the same for all items, the first of them number "
            f"{constant[0]} (counted from 0)."
        )

    rows = matrix.view(f"V{matrix.itemsize * num_features}").reshape(-1)
    _, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(times[place] > 1)
    if len(shared) > 0:
        first, second = np.flatnonzero(place == place[shared[0]])[:2]
        out.append(
            f"Modality '{modality}': {len(shared)} of {num_items} items have "
            f"the very features of another item, such as items "
            f"'{item_ids[first]}' and '{item_ids[second]}'."
        )

    # The squared length of a sum of unit vectors holds all their products.
    total = np.einsum("i,ij->j", 1 / norm, matrix, dtype=np.float64)
    cosine = (total @ total - num_items) / (num_items * (num_items - 1))
    if cosine > LARGE_COSINE:
        out.append(
            f"Modality '{modality}': the rows of all items point nearly the "
            f"same way, the mean cosine of two items being {cosine:.3f}: "
            f"similarities hardly differ."
        )
    return out


def suspect_coverage(
    modality: str, num_present: int, num_items: int
) -> List[str]:
    """Tells of features of few of the items that have interactions."""
    if num_present >= SMALL_SHARE * num_items:
        return []
    return [
        f"Modality '{modality}': only {num_present} of the {num_items} items "
        f"with interactions have it: are its ids those of the log?"
    ]

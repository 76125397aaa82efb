from typing import List

import numpy as np

# Suspicious are users with more than so many times the median number of
# interactions, a larger mean cosine of items, and features of a smaller share
# of the items.
MANY_TIMES = 100
LARGE_COSINE = 0.9
SMALL_SHARE = 0.5


def suspect_users(user_ids: np.ndarray, count: np.ndarray) -> List[str]:
    """Reports users with extreme numbers of interactions."""
    median = float(np.median(count))
    num_extreme = int((count > MANY_TIMES * median).sum())
    if num_extreme == 0:
        return []
    most = int(count.argmax())
    share = count[most] / count.sum()
    return [
        f"{num_extreme} user(s) have more than {MANY_TIMES} times the median "
        f"of {median:g} interactions, most of all user '{user_ids[most]}' "
        f"with {count[most]} ({share:.1%} of all): are they bots?"
    ]


def suspect_features(
    modality: str, item_ids: np.ndarray, matrix: np.ndarray, norm: np.ndarray
) -> List[str]:
    """Reports features that hardly distinguish items.

    Args:
        modality (str): The name of the modality.
        item_ids (np.ndarray): The items that have it.
        matrix (np.ndarray): Their features, one row per item.
        norm (np.ndarray): The norms of these rows.
    """
    num_items, num_features = matrix.shape
    out: List[str] = []
    if num_items == 1:
        return out
    constant = np.flatnonzero(matrix.min(axis=0) == matrix.max(axis=0))
    if len(constant) > 0:
        out.append(
            f"Modality '{modality}': {len(constant)} of {num_features} "
            f"features are the same for all items, such as feature "
            f"{constant[0]} (counted from 0)."
        )

    rows = matrix.view(f"V{matrix.itemsize * num_features}").reshape(-1)
    _, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(times[place] > 1)
    if len(shared) > 0:
        first, second = np.flatnonzero(place == place[shared[0]])[:2]
        out.append(
            f"Modality '{modality}': {len(shared)} of {num_items} items have "
            f"the same features as another item, such as items "
            f"'{item_ids[first]}' and '{item_ids[second]}'."
        )

    # The squared norm of a sum of unit vectors is the sum of all cosines.
    total = np.einsum("i,ij->j", 1 / norm, matrix, dtype=np.float64)
    cosine = (total @ total - num_items) / (num_items * (num_items - 1))
    if cosine > LARGE_COSINE:
        out.append(
            f"Modality '{modality}': the mean cosine of two items is "
            f"{cosine:.3f}, so that similarities hardly differ."
        )
    return out


def suspect_coverage(
    modality: str, num_present: int, num_items: int
) -> List[str]:
    """Reports features of few of the items with interactions."""
    if num_present >= SMALL_SHARE * num_items:
        return []
    return [
        f"Modality '{modality}': only {num_present} of the {num_items} items "
        f"with interactions have it: are its ids those of the log?"
    ]

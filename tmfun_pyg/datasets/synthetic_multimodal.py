from typing import Callable, Mapping, Optional, Tuple, Union

import numpy as np

from tmfun_pyg.datasets._content import Features, Interactions, build_content
from tmfun_pyg.datasets._split import random_split
from tmfun_pyg.datasets.features import check_modalities
from tmfun_pyg.datasets.rec_dataset import RecDataset
from tmfun_pyg.utils.messages import check_at_least, check_count

NUM_FACTORS = 16
# The number of factors that all modalities share.
NUM_SHARED = 4
# The weight of taste relative to Gumbel noise of scale 1.
TASTE = 15.0
# One for each split.
MIN_INTERACTIONS = 3
RATIOS = (0.8, 0.1, 0.1)
# The number of scores that are computed at once.
BLOCK_SCORES = 2**22


class SyntheticMultimodal(RecDataset):
    r"""A synthetic data set with interactions and features from the same
    latent factors.

    Each user :math:`u` and item :math:`i` has a factor in 16 dimensions.
    Users interact with the items with the largest

    .. math::
        15 \cos(\mathbf{p}_u, \mathbf{z}_i) - \gamma \log r_i + g_{ui}

    where :math:`r_i` is the item's rank in a random order of popularity,
    :math:`\gamma` is :obj:`popularity`, and :math:`g_{ui}` is Gumbel noise:
    items are sampled without replacement from a softmax. The number of
    interactions of a user is 3 plus a geometric draw. The interactions are
    randomly split 80/10/10 into training, validation and test; every user
    keeps one for training.

    Modality :math:`m` depends on four dimensions that all modalities share,
    and on every :math:`M`-th of the others. Its features are

    .. math::
        \mathbf{X}_m = \left( s \, \mathbf{Z}_m + \sqrt{1 - s^2} \,
        \mathbf{Z}^{\prime}_m \right) \mathbf{A}_m + \sigma \, \mathbf{E}

    where :math:`s` is :obj:`signal`, :math:`\sigma` is :obj:`noise`,
    :math:`\mathbf{A}_m` is a random projection, and
    :math:`\mathbf{Z}^{\prime}_m` and :math:`\mathbf{E}` are standard normal.
    The interactions do not depend on any argument of the features.

    Args:
        num_users (int, optional): The number of users.
            (default: :obj:`2000`)
        num_items (int, optional): The number of items.
            (default: :obj:`1500`)
        modalities (Dict[str, int], optional): The number of features of each
            modality. (default: :obj:`{'visual': 64, 'textual': 48}`)
        seed (int, optional): The seed. (default: :obj:`0`)
        mean_interactions (float, optional): The expected number of
            interactions of a user, more than 3. (default: :obj:`6.0`)
        popularity (float, optional): The exponent of popularity; :obj:`0`
            makes all items equally popular. (default: :obj:`0.5`)
        signal (float, optional): The weight of the item's factor in its
            features, from :obj:`0` (features are independent of the
            interactions) to :obj:`1`. (default: :obj:`1.0`)
        noise (float, optional): The standard deviation of the noise on each
            feature; that of the feature itself is about 1.
            (default: :obj:`0.5`)
        missing (float or Dict[str, float], optional): The share of items
            that lack a modality, for all modalities or per modality.
            (default: :obj:`0.0`)
        transform (callable, optional): A function/transform that takes in a
            :class:`~torch_geometric.data.HeteroData` object and returns a
            transformed version, applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform that takes
            in a :class:`~torch_geometric.data.HeteroData` object and returns
            a transformed version, applied once. (default: :obj:`None`)

    Raises:
        ValueError: If an argument is out of range.

    Attributes:
        modalities (List[str]): The modalities, in the order of the graph.
        user_ids (np.ndarray): The user indices.
        item_ids (np.ndarray): The item indices.
        num_duplicates (int): Always :obj:`0`.
    """

    def __init__(
        self,
        num_users: int = 2000,
        num_items: int = 1500,
        modalities: Optional[Mapping[str, int]] = None,
        seed: int = 0,
        *,
        mean_interactions: float = 6.0,
        popularity: float = 0.5,
        signal: float = 1.0,
        noise: float = 0.5,
        missing: Union[float, Mapping[str, float]] = 0.0,
        transform: Optional[Callable] = None,
        pre_transform: Optional[Callable] = None,
    ) -> None:
        super().__init__(transform=transform, pre_transform=pre_transform)
        if modalities is None:
            modalities = {"visual": 64, "textual": 48}
        names = check_modalities(list(modalities))
        if not isinstance(missing, Mapping):
            missing = dict.fromkeys(names, missing)
        unknown = [name for name in missing if name not in names]
        if unknown:
            raise ValueError(
                f"'missing' must be given for modalities of {names} (got "
                f"{unknown})"
            )
        low, high = MIN_INTERACTIONS + 1, num_items / 2
        check_count("num_users", num_users, 2)
        check_count("num_items", num_items, 2 * MIN_INTERACTIONS)
        check_at_least("mean_interactions", mean_interactions, low, high)
        check_at_least("popularity", popularity, 0)
        check_at_least("signal", signal, 0, 1)
        check_at_least("noise", noise, 0)
        for name in names:
            check_count(f"modalities['{name}']", modalities[name])
            check_at_least(f"missing['{name}']", missing.get(name, 0), 0, 0.99)

        # A random stream for the interactions and one for each modality, so
        # that none depends on the arguments of another.
        seeds = np.random.SeedSequence(seed).spawn(1 + len(names))
        rng, *rngs = map(np.random.default_rng, seeds)
        shape = num_users, num_items
        factor, inter = _draw_inter(rng, shape, mean_interactions, popularity)
        features: Features = {}
        own = np.arange(NUM_SHARED, NUM_FACTORS)
        for m, (name, rng) in enumerate(zip(names, rngs, strict=True)):
            seen = np.r_[:NUM_SHARED, own[m % len(own) :: len(names)]]
            z, dim = factor[:, seen], modalities[name]
            projection = rng.standard_normal((len(seen), dim))
            projection /= len(seen) ** 0.5
            other = rng.standard_normal(z.shape)
            x = (signal * z + (1 - signal**2) ** 0.5 * other) @ projection
            x += noise * rng.standard_normal(x.shape)
            num_missing = round(missing.get(name, 0) * num_items)
            present = np.ones(num_items, dtype=bool)
            present[rng.permutation(num_items)[:num_missing]] = False
            x[~present] = 0
            features[name] = x.astype(np.float32), present
        ids = np.arange(num_users), np.arange(num_items)
        content = build_content(inter, features, *ids)
        self.set_content(content.transformed(pre_transform))


def _draw_inter(
    rng: np.random.Generator, shape: Tuple[int, int], mean: float, gamma: float
) -> Tuple[np.ndarray, Interactions]:
    """Returns the factors of the items, and the interactions, sorted."""
    num_users, num_items = shape
    factor = rng.standard_normal((num_items, NUM_FACTORS), dtype=np.float32)
    taste = rng.standard_normal((num_users, NUM_FACTORS), dtype=np.float32)
    direction = factor / np.linalg.norm(factor, axis=1, keepdims=True)
    taste *= TASTE / np.linalg.norm(taste, axis=1, keepdims=True)
    bias = -gamma * np.log1p(rng.permutation(num_items))
    count = rng.geometric(1 / (mean - MIN_INTERACTIONS + 1), num_users)
    count = np.minimum(count - 1 + MIN_INTERACTIONS, num_items // 2)

    most = int(count.max())
    chosen = []
    block_size = max(1, BLOCK_SCORES // num_items)
    for start in range(0, num_users, block_size):
        score = taste[start : start + block_size] @ direction.T
        score += bias.astype(np.float32)
        draw = rng.standard_exponential(score.shape, np.float32)
        # The negative logarithm is Gumbel noise; in float32, zeros occur.
        score -= np.log(np.maximum(draw, np.finfo(np.float32).tiny))
        top = np.argpartition(-score, most, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(score, top, axis=1), axis=1)
        top = np.take_along_axis(top, order, axis=1)
        first = np.arange(most) < count[start : start + block_size, None]
        # Sorted by item, with the items that are not chosen at the end.
        chosen.append(np.sort(np.where(first, top, num_items), axis=1))
    table = np.concatenate(chosen)
    user, place = np.nonzero(table < num_items)
    item = table[user, place]
    return factor, Interactions(user, item, random_split(user, RATIOS, rng))

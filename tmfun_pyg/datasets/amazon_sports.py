from tmfun_pyg.datasets._published_dataset import (
    MMREC,
    PublishedDataset,
    Statistics,
)


class AmazonSports(PublishedDataset):
    r"""Amazon Sports and Outdoors (reviews, 5-core), in the format of `MMRec
    <https://github.com/enoche/MMRec>`__.

    The raw files :obj:`sports.inter` and :obj:`<modality>_feat.npy` are put
    in place by hand; arguments, errors and format are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset`, whose :obj:`name` is
    :obj:`"sports"` here.

    **STATS:**

    .. list-table::
        :widths: 10 10 10
        :header-rows: 1

        * - #users
          - #items
          - #interactions
        * - 35,598
          - 18,357
          - 296,337
    """

    folder = "sports"
    statistics = Statistics(35_598, 18_357, 296_337)
    place = MMREC

from tmfun_pyg.datasets._published_dataset import (
    MMREC,
    PublishedDataset,
    Statistics,
)


class AmazonClothing(PublishedDataset):
    r"""Amazon Clothing, Shoes and Jewelry (reviews, 5-core), in the format of
    `MMRec <https://github.com/enoche/MMRec>`__.

    The raw files :obj:`clothing.inter` and :obj:`<modality>_feat.npy` are put
    in place by hand; arguments, errors and format are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset`, whose :obj:`name` is
    :obj:`"clothing"` here.

    **STATS:**

    .. list-table::
        :widths: 10 10 10
        :header-rows: 1

        * - #users
          - #items
          - #interactions
        * - 39,387
          - 23,033
          - 278,677
    """

    folder = "clothing"
    statistics = Statistics(39_387, 23_033, 278_677)
    place = MMREC

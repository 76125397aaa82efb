from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonClothing(PublishedDataset):
    r"""Amazon Clothing, Shoes and Jewelry (reviews, 5-core) in `MMRec
    <https://github.com/enoche/MMRec>`__ format.

    Put the raw files :obj:`clothing.inter` and :obj:`<modality>_feat.npy`
    in place by hand. Arguments and errors are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset` with the name
    :obj:`"clothing"`.

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

from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonSports(PublishedDataset):
    r"""Amazon Sports and Outdoors (reviews, 5-core) in `MMRec
    <https://github.com/enoche/MMRec>`__ format.

    Put the raw files :obj:`sports.inter` and :obj:`<modality>_feat.npy` in
    place by hand. Arguments and errors are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset` with the name
    :obj:`"sports"`.

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

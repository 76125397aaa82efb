from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonElectronics(PublishedDataset):
    r"""Amazon Electronics (reviews, 5-core) in `MMRec
    <https://github.com/enoche/MMRec>`__ format.

    The raw files :obj:`elec.inter`, :obj:`image_feat.npy` and
    :obj:`text_feat.npy` are in MMRec's Google Drive folder, and have to be
    put in place by hand. Arguments and errors are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset` with the name
    :obj:`"elec"`.

    **STATS:**

    .. list-table::
        :widths: 10 10 10
        :header-rows: 1

        * - #users
          - #items
          - #interactions
        * - 192,403
          - 63,001
          - 1,689,188
    """

    folder = "elec"
    statistics = Statistics(192_403, 63_001, 1_689_188)

from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonBaby(PublishedDataset):
    r"""Amazon Baby (reviews, 5-core) in `MMRec
    <https://github.com/enoche/MMRec>`__ format.

    The raw files :obj:`baby.inter`, :obj:`image_feat.npy` and
    :obj:`text_feat.npy` are in MMRec's Google Drive folder, and have to be
    put in place by hand. Arguments and errors are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset` with the name
    :obj:`"baby"`.

    **STATS:**

    .. list-table::
        :widths: 10 10 10
        :header-rows: 1

        * - #users
          - #items
          - #interactions
        * - 19,445
          - 7,050
          - 160,792
    """

    folder = "baby"
    statistics = Statistics(19_445, 7_050, 160_792)

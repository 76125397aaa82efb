from tmfun_pyg.datasets._published_dataset import (
    MMREC,
    PublishedDataset,
    Statistics,
)


class AmazonBaby(PublishedDataset):
    r"""Amazon Baby (reviews, 5-core), in the format of `MMRec
    <https://github.com/enoche/MMRec>`__.

    The raw files :obj:`baby.inter` and :obj:`<modality>_feat.npy` are put
    in place by hand; arguments, errors and format are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset`, whose :obj:`name` is
    :obj:`"baby"` here.

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
    place = MMREC

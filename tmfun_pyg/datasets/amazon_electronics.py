from tmfun_pyg.datasets._published_dataset import (
    MMREC,
    PublishedDataset,
    Statistics,
)


class AmazonElectronics(PublishedDataset):
    r"""Amazon Electronics (reviews, 5-core), in the format of `MMRec
    <https://github.com/enoche/MMRec>`__.

    The raw files :obj:`elec.inter` and :obj:`<modality>_feat.npy` are put
    in place by hand; arguments, errors and format are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset`, whose :obj:`name` is
    :obj:`"elec"` here.

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
    place = MMREC

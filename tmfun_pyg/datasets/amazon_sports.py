from tmfun_pyg.datasets._mmhcl import Copy
from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonSports(PublishedDataset):
    r"""Amazon Sports and Outdoors (reviews, 5-core).

    Missing raw files are downloaded from the copy published by `MMHCL
    <https://huggingface.co/datasets/Xu-SII-BNU/MMHCL>`__, in the random split
    of LATTICE, and checked. `MMRec <https://github.com/enoche/MMRec>`__'s
    files, in another split, are read if they have been put in place by hand.
    Arguments and errors are those of
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
    public_copy = Copy(
        "Sports",
        digest="eb07db133517de65d3bfda386eec50a547247ff541197b1a3a61cad15dec4494",
    )

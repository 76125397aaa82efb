from tmfun_pyg.datasets._mmhcl import Copy
from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonClothing(PublishedDataset):
    r"""Amazon Clothing, Shoes and Jewelry (reviews, 5-core).

    Missing raw files are downloaded from the copy published by `MMHCL
    <https://huggingface.co/datasets/Xu-SII-BNU/MMHCL>`__, in the random split
    of LATTICE, and checked. `MMRec <https://github.com/enoche/MMRec>`__'s
    files, in another split, are read if they have been put in place by hand.
    Arguments and errors are those of
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
    public_copy = Copy(
        "Clothing",
        digest="fa5e6303bff236fd62937db3f7cf96527e732f5446fb6fabfafb33b247eab1f4",
    )

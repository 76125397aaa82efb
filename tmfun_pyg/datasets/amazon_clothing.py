from tmfun_pyg.datasets._mmhcl import Copy
from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class AmazonClothing(PublishedDataset):
    r"""Amazon Clothing, Shoes and Jewelry (reviews, 5-core).

    Raw files that are missing are downloaded from the copy that `MMHCL
    <https://huggingface.co/datasets/Xu-SII-BNU/MMHCL>`__ has published, in the
    random split of LATTICE, and checked. Files of `MMRec
    <https://github.com/enoche/MMRec>`__, in another split, are read where they
    have been put in place by hand. Arguments and errors are those of
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

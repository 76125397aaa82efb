from tmfun_pyg.datasets._mmhcl import Copy
from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class TikTok(PublishedDataset):
    r"""The TikTok data set from the `"Multi-Modal Self-Supervised Learning
    for Recommendation" <https://arxiv.org/abs/2302.10632>`__ paper, in its
    published split. (The paper's table counts 9,319 users; 9,308 of them occur
    in the interactions.)

    Missing raw files are downloaded from the copy published by `MMHCL
    <https://huggingface.co/datasets/Xu-SII-BNU/MMHCL>`__, and checked.
    Arguments and errors are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset` with the name
    :obj:`"tiktok"`.

    **STATS:**

    .. list-table::
        :widths: 10 10 10
        :header-rows: 1

        * - #users
          - #items
          - #interactions
        * - 9,308
          - 6,710
          - 68,722
    """

    folder = "tiktok"
    statistics = Statistics(9_308, 6_710, 68_722)
    public_copy = Copy(
        "Tiktok",
        digest="af68933e3ce1d3b8903d5dfe79e8b9e0a8afb74b56127554fe18fa1dde560da1",
    )

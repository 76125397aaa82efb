from tmfun_pyg.datasets._published_dataset import PublishedDataset, Statistics


class TikTok(PublishedDataset):
    r"""The TikTok data set from the `"Multi-Modal Self-Supervised Learning
    for Recommendation" <https://arxiv.org/abs/2302.10632>`__ paper, in its
    published split. (The paper's table counts 9,319 users; 9,308 of them occur
    in the interactions.)

    Put the raw files :obj:`tiktok.inter` and :obj:`<modality>_feat.npy` in
    place by hand. Arguments and errors are those of
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
    place = (
        "the Google Drive folder linked from https://github.com/HKUDS/MMSSL "
        "(write its split as tiktok.inter)"
    )

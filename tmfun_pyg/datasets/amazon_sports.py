from tmfun_pyg.datasets._published_dataset import (
    MMREC,
    PublishedDataset,
    Statistics,
)


class AmazonSports(PublishedDataset):
    r"""Amazon Sports and Outdoors (reviews, 5-core), in the format of `MMRec
    <https://github.com/enoche/MMRec>`__.

    The raw files :obj:`sports.inter` and :obj:`<modality>_feat.npy` are put
    in place by hand; arguments and format are those of
    :class:`~tmfun_pyg.datasets.MultimodalRecDataset`, whose :obj:`name` is
    :obj:`"sports"` here.

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

    Args:
        root (str): Root directory.
        modalities (List[str], optional): The modalities to read.
            (default: all that have a feature file, sorted by name)
        transform (callable, optional): Applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): Applied before being saved to
            disk. (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)
        zero_rows (str, optional): What a feature row of zeros means:
            :obj:`"error"` or :obj:`"mask"`. (default: :obj:`"error"`)

    Raises:
        ValueError: If files are missing or not what is expected, or if they
            differ from the published statistics.
    """

    folder = "sports"
    statistics = Statistics(35_598, 18_357, 296_337)
    place = MMREC

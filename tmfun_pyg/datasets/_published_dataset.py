import os
from typing import Any, ClassVar, NamedTuple, Union

from tmfun_pyg.datasets._content import Content
from tmfun_pyg.datasets.multimodal_rec_dataset import MultimodalRecDataset


class Statistics(NamedTuple):
    """The numbers of users, items and interactions (of all splits)."""

    users: int
    items: int
    interactions: int


class PublishedDataset(MultimodalRecDataset):
    """The base class of data sets with a fixed name and known statistics.

    Attributes:
        folder (str): The name of the data set, its folder and its files.
        statistics (Statistics): The published statistics.
        place (str): Where the raw files are published.
    """

    folder: ClassVar[str]
    statistics: ClassVar[Statistics]
    place = (
        "the Google Drive folder linked from https://github.com/enoche/MMRec"
    )

    def __init__(
        self, root: Union[str, "os.PathLike[str]"], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(root, self.folder, *args, **kwargs)

    def _check_statistics(self, content: Content) -> None:
        sizes = len(content.user_ids), len(content.item_ids)
        interactions = sum(pairs.size(1) for pairs in content.splits)
        found = Statistics(*sizes, interactions)
        if found != self.statistics:
            raise ValueError(
                f"'{self.raw_paths[0]}' must have {self.statistics} as "
                f"published (got {found}); use MultimodalRecDataset for other "
                f"versions"
            )

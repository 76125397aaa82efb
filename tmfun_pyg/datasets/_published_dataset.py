import os
from typing import Callable, ClassVar, NamedTuple, Optional, Sequence, Union

from tmfun_pyg.datasets._features import ZeroRows
from tmfun_pyg.datasets.multimodal_rec_dataset import MultimodalRecDataset

MMREC = "the Google Drive folder linked from https://github.com/enoche/MMRec"


class Statistics(NamedTuple):
    """The numbers of users, items and interactions (of all splits)."""

    users: int
    items: int
    interactions: int


class PublishedDataset(MultimodalRecDataset):
    """A data set of a fixed name whose size is known.

    Attributes:
        folder (str): The name of the folder and the files.
        statistics (Statistics): The published numbers.
        place (str): Where the community publishes the raw files.
    """

    folder: ClassVar[str]
    statistics: ClassVar[Statistics]
    place: ClassVar[str]

    def __init__(
        self,
        root: Union[str, "os.PathLike[str]"],
        modalities: Optional[Sequence[str]] = None,
        transform: Optional[Callable] = None,
        pre_transform: Optional[Callable] = None,
        force_reload: bool = False,
        *,
        zero_rows: ZeroRows = "error",
    ) -> None:
        super().__init__(
            root,
            self.folder,
            modalities,
            transform,
            pre_transform,
            force_reload,
            zero_rows=zero_rows,
        )

    def download(self) -> None:
        r"""Tells which files to put where: the public copies sit behind
        links that are opened by hand.

        Raises:
            ValueError: Always.
        """
        try:
            super().download()
        except ValueError as err:
            raise ValueError(
                f"{err}. They are published at {self.place}: get them from "
                f"there by hand"
            ) from None

    def _check_statistics(
        self,
        num_users: int,
        num_items: int,
        num_interactions: int,
    ) -> None:
        found = Statistics(num_users, num_items, num_interactions)
        if found != self.statistics:
            raise ValueError(
                f"'{self.raw_paths[0]}': found {found}, expected "
                f"{self.statistics} as published; read other versions by "
                f"MultimodalRecDataset"
            )

import os
import os.path as osp
from typing import Any, ClassVar, NamedTuple, Optional, Sequence, Union

from tmfun_pyg.datasets._content import Content, Interactions
from tmfun_pyg.datasets._mmhcl import Copy, download_copy
from tmfun_pyg.datasets.multimodal_rec_dataset import MultimodalRecDataset

DRIVE = "https://drive.google.com/drive/folders"
MMREC = f"{DRIVE}/13cBy1EA_saTUuXxVllKgtfci2A09jyaG"
MMHCL = f"{DRIVE}/1yitfcangRzsWtYM1MokMyWPGPr8heBxB"


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
        public_copy (Copy, optional): The files that can be downloaded. Without
            them, those of MMRec's folder have to be put in place by hand.
    """

    folder: ClassVar[str]
    statistics: ClassVar[Statistics]
    public_copy: ClassVar[Optional[Copy]] = None

    def __init__(
        self,
        root: Union[str, "os.PathLike[str]"],
        modalities: Optional[Sequence[str]] = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._requested = modalities
        super().__init__(root, self.folder, modalities, *args, **kwargs)

    @property
    def _by_hand(self) -> str:
        if self.public_copy is not None:
            return (
                f"or put train.json, val.json, test.json and the "
                f"<modality>_feat.npy of {self.public_copy.page} or {MMHCL} "
                f"by hand into '{self.raw_dir}', and call this again"
            )
        return (
            f"a folder of Google Drive cannot be downloaded from here: put "
            f"'{self.folder}.inter', 'image_feat.npy' and 'text_feat.npy' of "
            f"the folder of this data set at {MMREC} by hand into "
            f"'{self.raw_dir}', and call this again"
        )

    def download(self) -> None:
        r"""Downloads the missing raw files, if there is a public copy. Called
        by the constructor. The next call resumes an interrupted transfer.

        Raises:
            ConnectionError: If a file cannot be downloaded; the message says
                what to do by hand.
            OSError: If a file cannot be written.
            ValueError: If there is no copy, or if its size, checksums or
                statistics are wrong.
        """
        has_inter = osp.isfile(self.raw_paths[0])
        own = osp.isfile(osp.join(self.raw_dir, "train.json"))
        # Features of one copy need not fit the interactions of another.
        if self.public_copy is None or (has_inter and not own):
            super().download()  # Raises.
            return
        try:
            download_copy(
                self.public_copy,
                self.raw_dir,
                self.folder,
                self._requested,
                self._check_interactions,
            )
        except ConnectionError as err:
            raise ConnectionError(f"{err}; {self._by_hand}") from err
        except ValueError as err:
            raise ValueError(f"{err}; {self._by_hand}") from err

    def _check_interactions(self, rows: Interactions, source: str) -> None:
        users = int(rows.user.max(initial=-1)) + 1
        items = int(rows.item.max(initial=-1)) + 1
        self._check(Statistics(users, items, len(rows.user)), source)

    def _check_statistics(self, content: Content) -> None:
        sizes = len(content.user_ids), len(content.item_ids)
        interactions = sum(pairs.size(1) for pairs in content.splits)
        self._check(Statistics(*sizes, interactions), f"'{self.raw_paths[0]}'")

    def _check(self, found: Statistics, source: str) -> None:
        if found != self.statistics:
            raise ValueError(
                f"{source} must have {self.statistics} as published (got "
                f"{found}); use MultimodalRecDataset for other versions"
            )

import os
import os.path as osp
import warnings
from typing import Any, Callable, List, Mapping, Optional, Sequence, Union

from tmfun_pyg.datasets import _mmrec, _processed
from tmfun_pyg.datasets._content import Content, warn_duplicates
from tmfun_pyg.datasets._from_log import content_from_log
from tmfun_pyg.datasets._ids import IdType
from tmfun_pyg.datasets._log import read_log
from tmfun_pyg.datasets._split import Ratios, Split
from tmfun_pyg.datasets.features import (
    ZeroRows,
    check_by_modality,
    check_modalities,
)
from tmfun_pyg.datasets.item_table import read_items
from tmfun_pyg.datasets.projection import check_channels
from tmfun_pyg.datasets.rec_dataset import RecDataset


class MultimodalRecDataset(RecDataset):
    r"""A multimodal recommendation data set in MMRec format: a tab-separated
    file :obj:`<name>.inter` with the columns :obj:`userID`, :obj:`itemID` and
    :obj:`x_label` (0 for training, 1 for validation, 2 for test; other
    columns are ignored), and a feature matrix per modality,
    :obj:`<modality>_feat.npy`, with one row per item.

    Raw ids are read from :obj:`u_id_mapping.csv` and
    :obj:`i_id_mapping.csv`, if they exist: tab-separated files with a header
    and two columns, raw ids (under any name) and :obj:`userID` or
    :obj:`itemID`. They also define the numbers of users and items, so that
    items may have features, but no interactions (cold items). Raw ids are
    integers if all of them are 64-bit integers (and the name of their
    column does not end in :obj:`:str`), and strings otherwise. Without these
    files, ids are indices. Titles, pictures and groups of items are read from
    :obj:`item_table.csv`, times of interactions from
    :obj:`interaction_times.npy`, and projections of features from
    :obj:`<modality>_projection.npy`, which
    :func:`~tmfun_pyg.datasets.prepare` writes.

    The raw files are read from the first of these folders that exists:

    1. :obj:`<root>/<name>/raw`, as in any PyG data set. Processed data goes
       to :obj:`<root>/<name>/processed`.
    2. :obj:`<root>/<name>`, if it holds :obj:`<name>.inter`.
    3. :obj:`<root>`, if it holds :obj:`<name>.inter`.

    In cases 2 and 3, processed data goes to a folder in :obj:`$TMFUN_CACHE`
    (default: :obj:`~/.cache/tmfun_pyg`). The name of the processed file
    depends on the contents of the raw files and on all arguments, so that
    changed files are processed again.

    :obj:`dataset[0]` is a :class:`~torch_geometric.data.HeteroData` with

    * :obj:`data['user'].num_nodes` and :obj:`data['item'].num_nodes`,
    * :obj:`data['item'].x_<modality>`: the features (float32, or
      float16 with :obj:`half`),
    * :obj:`data['item'].mask_<modality>`: :obj:`False` for items that lack
      the modality; only present if some item does,
    * :obj:`data['user', 'interacts', 'item']` with :obj:`edge_index` (the
      training interactions, sorted by user, then item),
      :obj:`val_edge_label_index` and :obj:`test_edge_label_index`,
    * :obj:`data['item', 'rev_interacts', 'user'].edge_index`.

    Repeated interactions are kept once, in their earliest split, with a
    warning. Use :meth:`from_interactions` for your own logs and features.

    Args:
        root (str): Root directory, see above.
        name (str): The name of the data set.
        modalities (List[str], optional): The modalities to read, an empty
            list for interactions alone.
            (default: all with a feature file, sorted by name)
        transform (callable, optional): A function/transform that takes in a
            :class:`~torch_geometric.data.HeteroData` object and returns a
            transformed version. The data object will be transformed before
            every access. (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform that takes
            in a :class:`~torch_geometric.data.HeteroData` object and returns
            a transformed version. The data object will be transformed before
            being saved to disk. For transforms of this package and of PyG,
            the name of the processed file depends on their attributes and
            their code. Functions and other transforms cannot be identified
            this way: they are applied again each time.
            (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)
        zero_rows (str, optional): If set to :obj:`"error"`, all-zero features
            are an error. If set to :obj:`"mask"`, their items lack the
            modality. (default: :obj:`"error"`)
        half (bool, optional): If set to :obj:`True`, the data set holds
            features in float16.
            :class:`~tmfun_pyg.transforms.FeatureGraph` reads them as they are,
            :class:`~tmfun_pyg.transforms.ToRecGraph` converts them to float32.
            (default: :obj:`False`)

    Raises:
        ValueError: If a file is missing or has the wrong format; the message
            names the file, and the line, column or items. Nothing is
            written in that case.
        OSError: If the processed data cannot be written.

    Attributes:
        modalities (List[str]): The modalities, in the order of the graph.
        user_ids (np.ndarray): Raw user ids (int64 or str), by user index.
        item_ids (np.ndarray): Raw item ids (int64 or str), by item index.
        num_duplicates (int): The number of repeated interactions that were
            dropped.
        item_table (pandas.DataFrame): Titles, pictures and groups of the
            items, by item index: the text columns :obj:`title`,
            :obj:`image_url` and :obj:`group`, if the data set has them, empty
            for items that have none.
        projections (Dict[str, torch.Tensor]): For each projected modality,
            see :func:`~tmfun_pyg.datasets.prepare`, the matrix of shape
            :obj:`[num_raw_features, num_features]` that its raw features were
            multiplied by.
        interaction_times (torch.Tensor, optional): User index, item index and
            seconds since 1970 of each interaction of the log, of shape
            :obj:`[3, num_interactions]`, if its times are dates or numbers in
            one known unit.
        raw_dir (str): The folder of the raw files.
        processed_dir (str): The folder of the processed files.
        processed_file_names (str): The processed file, whose name depends on
            raw files and options.
    """

    # The constructor replaces PyG's hooks, which create folders before the
    # raw files are checked, and keep one `pre_transform.pt` for all processed
    # files.
    has_download = has_process = False
    raw_dir = processed_dir = processed_file_names = ""

    def __init__(
        self,
        root: Union[str, "os.PathLike[str]"],
        name: str,
        modalities: Optional[Sequence[str]] = None,
        transform: Optional[Callable] = None,
        pre_transform: Optional[Callable] = None,
        force_reload: bool = False,
        *,
        zero_rows: ZeroRows = "error",
        half: bool = False,
    ) -> None:
        # Set before PyG's constructor is called, since the paths need them.
        self.root = root = osp.abspath(osp.expanduser(os.fspath(root)))
        self.name = name
        self.zero_rows = zero_rows
        if not isinstance(half, bool):
            raise ValueError(f"'half' must be a bool (got {half!r})")
        self.half = half
        self.raw_dir = _mmrec.find_raw_dir(root, name)
        self.processed_dir = _processed.find_dir(root, name, self.raw_dir)
        self._set_modalities(modalities)
        if not all(osp.isfile(path) for path in self.raw_paths):
            self.download()
            self._set_modalities(modalities)
        # Computed once: files that change during reading must not be found
        # under the name of their new state.
        state = _processed.state_of(pre_transform)
        self.processed_file_names = _processed.file_name(
            self.raw_paths,
            type(self).__name__,
            zero_rows + "-half" * half,
            repr(pre_transform) if state is None else state,
        )
        force_reload |= state is None
        super().__init__(
            root, transform, pre_transform, force_reload=force_reload
        )
        if self.force_reload or not osp.isfile(self.processed_paths[0]):
            self.process()
        self.set_content(_processed.load(self.processed_paths[0]))

    @classmethod
    def from_interactions(
        cls,
        interactions: Any,
        features: Mapping[str, Any],
        *,
        user_col: str = "user_id",
        item_col: str = "item_id",
        id_type: IdType = "auto",
        time_col: Optional[str] = None,
        split: Split = "random",
        ratios: Ratios = (0.8, 0.1, 0.1),
        k_core: int = 0,
        seed: int = 0,
        zero_rows: ZeroRows = "error",
        feature_channels: Optional[int] = None,
        items: Optional[Any] = None,
        transform: Optional[Callable] = None,
        pre_transform: Optional[Callable] = None,
    ) -> "MultimodalRecDataset":
        r"""Builds a data set in memory from a log and features.

        Ids may be integers or strings; other ids, such as UUIDs or dates,
        are converted to strings. In a text file, a column of ids is read as
        integers if all of them are 64-bit integers as Python writes them,
        and as strings otherwise (:obj:`"007"`). Item ids of features match
        those of the log as text; unless all item ids are integers, all are
        strings. Ids with line breaks or surrounding spaces are an error.
        :obj:`dataset.user_ids` and :obj:`dataset.item_ids` map indices to
        ids, in sorted order.

        Repeated interactions are kept once, at their earliest time (without
        times: in the first row; with given splits: in the earliest), with a
        warning.

        :obj:`.csv`, :obj:`.tsv` and :obj:`.inter` files may be compressed:
        :obj:`.csv.gz`. :obj:`.inter` files are as in RecBole: types in the
        header, as in :obj:`user_id:token`, are not part of the names. The
        columns :obj:`userID` and :obj:`itemID` of MMRec's files are also
        found as :obj:`"user_id"` and :obj:`"item_id"`.

        Items with features, but no interactions, become cold items: they are
        in the vocabulary and the graph, without edges to users. Items with
        interactions, but no features, have a row of zeros and :obj:`False` in
        the mask of the modality.

        Args:
            interactions (pandas.DataFrame or str): The log, or the path of a
                :obj:`.csv`, :obj:`.tsv`, :obj:`.inter` or :obj:`.parquet`
                file.
            features (Dict[str, Any]): For each modality a pair
                :obj:`(item_ids, matrix)`, or a matrix alone whose rows
                follow the sorted order of the distinct item ids of the log
                (before :obj:`k_core`). A matrix is a
                :class:`numpy.ndarray` or :class:`torch.Tensor` of numbers or
                booleans, of shape :obj:`[num_rows, num_features]`. May be
                empty.
            user_col (str, optional): The column of user ids.
                (default: :obj:`"user_id"`)
            item_col (str, optional): The column of item ids.
                (default: :obj:`"item_id"`)
            id_type (str, optional): If set to :obj:`"int"`, all ids of a
                column must be integers if any is, and :obj:`5863.0` counts as
                one; with :obj:`"auto"`, it is an error among integers. If set
                to :obj:`"str"`, integers become strings.
                (default: :obj:`"auto"`)
            time_col (str, optional): The column of times: numbers, dates, or
                strings in ISO 8601. (default: :obj:`None`)
            split (str, optional): How interactions are split:
                :obj:`"random"` splits by :obj:`ratios`, but keeps one random
                interaction of each user for training;
                :obj:`"leave_last_out"` takes each user's last interaction
                for test and the one before for validation (users with two
                have none for validation, users with one keep it for
                training);
                :obj:`"global_time"` splits by :obj:`ratios` at two points
                in time, the same for all users;
                :obj:`"given"` takes the column :obj:`x_label` of the log (0
                for training, 1 for validation, 2 for test).
                (default: :obj:`"random"`)
            ratios (Tuple[float, float, float], optional): The shares of
                training, validation and test.
                (default: :obj:`(0.8, 0.1, 0.1)`)
            k_core (int, optional): The minimum number of interactions: users
                and items with fewer are dropped until all have that many.
                The features of dropped items are dropped, too.
                (default: :obj:`0`)
            seed (int, optional): The seed of the random split.
                (default: :obj:`0`)
            zero_rows (str, optional): If set to :obj:`"error"`, all-zero
                features are an error. If set to :obj:`"mask"`, their items
                lack the modality. (default: :obj:`"error"`)
            feature_channels (int, optional): Features with more columns are
                projected to this number by a principal component analysis of
                the items with interactions, which preserves cosines and
                standardized rows as well as possible.
                :obj:`dataset.projections` holds the matrices, which also
                project the features of items added later.
                (default: :obj:`256` for matrices of more than :math:`2^{28}`
                numbers, 1 GiB in single precision, and all columns for others)
            items (pandas.DataFrame or str, optional): Titles, pictures and
                groups, one row per item: the column :obj:`item_col` and any
                of :obj:`title`, :obj:`image_url` and :obj:`group`, or the
                path of such a :obj:`.csv`, :obj:`.tsv` or :obj:`.parquet`
                file. They become :obj:`dataset.item_table`. A warning lists
                the columns and items that were not read.
                (default: :obj:`None`)
            transform (callable, optional): A function/transform that takes
                in a :class:`~torch_geometric.data.HeteroData` object and
                returns a transformed version, applied before every access.
                (default: :obj:`None`)
            pre_transform (callable, optional): A function/transform that
                takes in a :class:`~torch_geometric.data.HeteroData` object
                and returns a transformed version, applied once.
                (default: :obj:`None`)

        Raises:
            ImportError: If the log is a Parquet file, and pyarrow is not
                installed: :obj:`pip install "tmfun-pyg[data]"`.
            ValueError: If an argument is out of range, or data has the wrong
                format; the message names the argument, and the column, row
                or items.
        """
        check_modalities(check_by_modality(features), zero_rows)
        check_channels(feature_channels)
        given = split == "given"
        log = read_log(
            interactions, user_col, item_col, time_col, given, id_type
        )
        content = content_from_log(
            log,
            features,
            split,
            ratios,
            k_core,
            seed,
            zero_rows,
            id_type,
            feature_channels=feature_channels,
        )
        if items is not None:
            file = read_items(items, item_col, id_type)
            table = file.of_items(content.item_ids)
            content = content._replace(item_table=table)
            for line in file.not_read(content.item_ids):
                warnings.warn(f"Not read: {line}", stacklevel=2)
        dataset = cls.__new__(cls)
        super(MultimodalRecDataset, dataset).__init__(
            transform=transform, pre_transform=pre_transform
        )
        dataset.set_content(content.transformed(pre_transform))
        return dataset

    @property
    def raw_file_names(self) -> List[str]:
        r"""The interactions, the features, and the raw ids and titles if
        they exist.
        """
        return _mmrec.raw_files(self.raw_dir, self.name, self.modalities)

    def _set_modalities(self, modalities: Optional[Sequence[str]]) -> None:
        """Sets the requested modalities, or all that exist."""
        found = _mmrec.find_modalities(self.raw_dir)
        self.modalities = check_modalities(
            found if modalities is None else modalities, self.zero_rows
        )

    def download(self) -> None:
        r"""Names the missing raw files: only some of the published data sets
        can be downloaded.

        Raises:
            ValueError: Always.
        """
        missing = [path for path in self.raw_paths if not osp.isfile(path)]
        hint = f"; {self._by_hand}" if self._by_hand else ""
        raise ValueError(
            f"'{self.root}/{self.name}/raw', '{self.root}/{self.name}' or "
            f"'{self.root}' must hold '{self.name}.inter' and the feature "
            f"files (missing: {missing}){hint}"
        )

    @property
    def _by_hand(self) -> str:
        """What to do about missing raw files, if known."""
        return ""

    def process(self) -> None:
        r"""Reads and checks the raw files, and saves the processed file.
        Called by the constructor.
        """
        content = _mmrec.read(
            self.raw_dir, self.name, self.modalities, self.zero_rows, self.half
        )
        self._check_statistics(content)
        content = content.transformed(self.pre_transform)
        _processed.save(content, self.processed_paths[0])
        warn_duplicates(content.num_duplicates, f"'{self.raw_paths[0]}'")

    def _check_statistics(self, content: Content) -> None:
        """Compares the data with its published statistics, if any."""

import os.path as osp
from dataclasses import dataclass
from typing import List, Literal, Optional, Union

from torch_geometric.transforms import BaseTransform, Compose

from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.transforms import FeatureGraph, MergeSplits

ZERO_ROWS = ("error", "mask")


@dataclass
class DatasetOptions:
    r"""The location of a data set and the options for reading it, as plain
    values for configurations and checkpoints.

    Args:
        root (str, optional): The root directory of the data set, see
            :class:`~tmfun_pyg.datasets.MultimodalRecDataset`. If not given,
            uses :class:`~tmfun_pyg.datasets.SyntheticMultimodal`.
            (default: :obj:`None`)
        name (str, optional): The name of the data set. If not given, uses the
            name of the root directory. (default: :obj:`None`)
        modalities (List[str], optional): The modalities to read, all if not
            given. (default: :obj:`None`)
        zero_rows (str, optional): How to handle an all-zero feature row:
            :obj:`"error"` raises an error, :obj:`"mask"` treats the item as
            lacking the modality. (default: :obj:`"error"`)
        half (bool, optional): If set to :obj:`True`, stores features in
            float16. (default: :obj:`False`)
        k (int, optional): The number of neighbors in the feature graphs, if
            the model reads any. (default: :obj:`10`)
        recall (float, optional): The share of neighbors that an approximate
            search has to find, see
            :class:`~tmfun_pyg.transforms.FeatureGraph`. If not given, the
            search is exact. (default: :obj:`None`)
        on_all_data (bool, optional): If set to :obj:`True`, merges the
            validation and test splits into training, see
            :class:`~tmfun_pyg.transforms.MergeSplits`.
            (default: :obj:`False`)
        feature_graphs (bool, optional): If set to :obj:`False`, builds no
            feature graphs. (default: :obj:`True`)
    """

    root: Optional[str] = None
    name: Optional[str] = None
    modalities: Optional[List[str]] = None
    zero_rows: Literal["error", "mask"] = "error"
    half: bool = False
    k: int = 10
    recall: Optional[float] = None
    on_all_data: bool = False
    feature_graphs: bool = True

    def __post_init__(self) -> None:
        names, texts = self.modalities, (str, type(None))
        for key, is_right, expected in (
            ("root", isinstance(self.root, texts), "a folder"),
            ("name", isinstance(self.name, texts), "a name"),
            (
                "modalities",
                names is None
                or (
                    isinstance(names, list)
                    and all(isinstance(x, str) for x in names)
                ),
                "a list of names",
            ),
            ("zero_rows", self.zero_rows in ZERO_ROWS, f"one of {ZERO_ROWS}"),
            ("half", isinstance(self.half, bool), "a bool"),
            ("k", isinstance(self.k, int), "a whole number"),
            (
                "recall",
                isinstance(self.recall, (int, float, type(None))),
                "a number",
            ),
            ("on_all_data", isinstance(self.on_all_data, bool), "a bool"),
            ("feature_graphs", isinstance(self.feature_graphs, bool), "a bool"),
        ):
            if not is_right:
                raise ValueError(
                    f"'data.{key}' must be {expected} (got "
                    f"{getattr(self, key)!r})"
                )
        if self.root is None:
            if self.name is not None:
                raise ValueError(
                    f"'data.root' must be the folder of the data set "
                    f"'{self.name}' (got none)"
                )
            # Not for the synthetic one; own_data, say, sets zero_rows.
            for key, default in (("zero_rows", "error"), ("half", False)):
                value = getattr(self, key)
                if value != default:
                    raise ValueError(
                        f"'data.root' must be given where 'data.{key}' is "
                        f"{value!r}"
                    )
            return
        # A checkpoint may be read from another working directory.
        self.root = osp.abspath(osp.expanduser(self.root))
        if self.name is None:
            self.name = osp.basename(self.root)

    def load(self) -> Union[MultimodalRecDataset, SyntheticMultimodal]:
        r"""Loads the data set, and adds its feature graphs if requested.

        Raises:
            ValueError: If a file is missing or invalid.
        """
        steps: List[BaseTransform] = []
        if self.on_all_data:
            steps.append(MergeSplits())
        graphs = FeatureGraph(k=self.k, recall=self.recall)  # Checks them.
        if self.feature_graphs:
            steps.append(graphs)
        transform = (
            Compose(steps) if len(steps) > 1 else next(iter(steps), None)
        )
        if self.root is None:
            return SyntheticMultimodal(seed=0, pre_transform=transform)
        assert self.name is not None
        return MultimodalRecDataset(
            self.root,
            self.name,
            self.modalities,
            pre_transform=transform,
            zero_rows=self.zero_rows,
            half=self.half,
        )

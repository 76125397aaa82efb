import os.path as osp
from dataclasses import dataclass
from typing import List, Literal, Optional, Union

from torch_geometric.transforms import BaseTransform, Compose

from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.transforms import FeatureGraph, MergeSplits

ZERO_ROWS = ("error", "mask")


@dataclass
class DatasetOptions:
    r"""Says where a data set is, and how it is to be read. Plain values, so
    that they stand in configurations and checkpoints.

    Args:
        root (str, optional): The root directory of the data set, see
            :class:`~tmfun_pyg.datasets.MultimodalRecDataset`. The synthetic
            :class:`~tmfun_pyg.datasets.SyntheticMultimodal` if not given.
            (default: :obj:`None`)
        name (str, optional): The name of the data set, that of the root
            directory if not given. (default: :obj:`None`)
        modalities (List[str], optional): The modalities to read, all if not
            given. (default: :obj:`None`)
        zero_rows (str, optional): What a feature row of zeros means:
            :obj:`"error"` refuses it, :obj:`"mask"` takes it for an item that
            lacks the modality. (default: :obj:`"error"`)
        half (bool, optional): If set to :obj:`True`, features are held in
            float16. (default: :obj:`False`)
        k (int, optional): The number of neighbors in the feature graphs, if
            the model reads any.
            (default: :obj:`10`)
        recall (float, optional): The share of neighbors that an approximate
            search has to find, an exact one if not given, see
            :class:`~tmfun_pyg.transforms.FeatureGraph`.
            (default: :obj:`None`)
        on_all_data (bool, optional): If set to :obj:`True`, validation and
            test become part of training, see
            :class:`~tmfun_pyg.transforms.MergeSplits`.
            (default: :obj:`False`)
        feature_graphs (bool, optional): If set to :obj:`False`, no feature
            graphs are made. (default: :obj:`True`)
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
            # Not of the synthetic one; own_data, say, sets the first.
            for key, default in (("zero_rows", "error"), ("half", False)):
                value = getattr(self, key)
                if value != default:
                    raise ValueError(
                        f"'data.root' must be given where 'data.{key}' is "
                        f"{value!r}"
                    )
            return
        # A checkpoint is read from other folders than it was made in.
        self.root = osp.abspath(osp.expanduser(self.root))
        if self.name is None:
            self.name = osp.basename(self.root)

    def load(self) -> Union[MultimodalRecDataset, SyntheticMultimodal]:
        r"""Reads the data set, and adds its feature graphs if asked to.

        Raises:
            ValueError: If a file is missing, or not what is expected.
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

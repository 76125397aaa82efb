import json
import os
import os.path as osp
import re
from dataclasses import asdict
from typing import Any, Dict, Optional, Union

import numpy as np

from tmfun_pyg.datasets._feature_files import read_feature_file
from tmfun_pyg.datasets._features import ZeroRows, check_zero_rows
from tmfun_pyg.datasets._log import (
    LABEL,
    import_pandas,
    number_log,
    read_frame,
)
from tmfun_pyg.datasets._mapping import write_mapping
from tmfun_pyg.datasets._rec_dataset import check_modalities
from tmfun_pyg.datasets._split import Ratios, Split
from tmfun_pyg.datasets.multimodal_rec_dataset import (
    MAPPINGS,
    SUFFIX,
    MultimodalRecDataset,
)
from tmfun_pyg.datasets.prepare_report import PrepareReport, describe
from tmfun_pyg.utils.files import atomic_folder

REPORT = "report.json"


def prepare(
    log: Union[str, "os.PathLike[str]"],
    out: Union[str, "os.PathLike[str]"],
    name: str,
    features: Optional[Dict[str, str]] = None,
    *,
    user_col: str = "user_id",
    item_col: str = "item_id",
    time_col: Optional[str] = None,
    split: Optional[Split] = None,
    ratios: Ratios = (0.8, 0.1, 0.1),
    k_core: int = 0,
    seed: int = 0,
    zero_rows: ZeroRows = "error",
    feature_ids: Optional[Dict[str, str]] = None,
    encoder: Optional[str] = None,
    overwrite: bool = False,
) -> PrepareReport:
    r"""Writes one's own log and features in the community's format.

    They go to the folder :obj:`<out>/<name>`, with raw ids and a report.
    :obj:`MultimodalRecDataset(out, name, zero_rows="mask")` reads it, and
    holds what :meth:`MultimodalRecDataset.from_interactions` makes of the
    same log and features, which tells how they are read, joined and split.
    The folder holds

    * :obj:`<name>.inter`: the interactions and their splits, as indices,
    * :obj:`<modality>_feat.npy`: the features of all items (float32), with
      rows of zeros for items that lack the modality,
    * :obj:`u_id_mapping.csv` and :obj:`i_id_mapping.csv`: the raw ids.
      They are read back as integers if all are written as plain integers of
      up to 18 digits, whatever type they had in the log, and as strings
      otherwise,
    * :obj:`report.json`: the report, which names what looks suspicious.

    It is written whole or not at all.

    The features of a modality are one of these:

    * A :obj:`.npy` file with one row an item. Beside it, the file
      :obj:`<stem>_ids.txt` or :obj:`<stem>.ids.txt` holds the item id of
      each row, one a line. Without ids, rows stand for the distinct item
      ids of the log (before :obj:`k_core`) in sorted order.
    * A :obj:`.parquet` file with the column :obj:`item_col` and either one
      column of lists or any number of numeric columns.
    * A folder of texts, :obj:`<item id>.txt`, which a model of
      sentence-transformers encodes. An empty text makes a row of zeros.

    Their item ids are compared with those of the log as they are written:
    :obj:`12` is :obj:`"12"`, but not :obj:`"012"`.

    Args:
        log (str): The path of the log, a :obj:`.csv` or :obj:`.parquet`
            file, or a :obj:`.inter` file of RecBole or MMRec.
        out (str): The folder to write the data set's folder into.
        name (str): The name of the data set.
        features (Dict[str, str], optional): For each modality the path of
            its features. (default: :obj:`None`)
        user_col (str, optional): The column of user ids.
            (default: :obj:`"user_id"`)
        item_col (str, optional): The column of item ids, in the log and in
            features. (default: :obj:`"item_id"`)
        time_col (str, optional): The column of times: numbers, dates, or
            strings in ISO 8601. (default: :obj:`None`)
        split (str, optional): How interactions are split: :obj:`"random"`,
            :obj:`"leave_last_out"`, :obj:`"global_time"`, or
            :obj:`"given"` by the column :obj:`x_label` of the log.
            (default: :obj:`"given"` if the log has that column, else
            :obj:`"random"`)
        ratios (Tuple[float, float, float], optional): The shares of
            training, validation and test.
            (default: :obj:`(0.8, 0.1, 0.1)`)
        k_core (int, optional): Drops users and items with fewer
            interactions than this, again and again until none are left.
            (default: :obj:`0`)
        seed (int, optional): The seed of the random split.
            (default: :obj:`0`)
        zero_rows (str, optional): What a feature row of zeros means:
            :obj:`"error"` refuses it, :obj:`"mask"` takes it for an item
            that lacks the modality. (default: :obj:`"error"`)
        feature_ids (Dict[str, str], optional): For modalities in
            :obj:`.npy` files, the path of the file of item ids, if it is
            not found beside. (default: :obj:`None`)
        encoder (str, optional): The folder of the sentence-transformers
            model for texts; none is ever downloaded. (default: :obj:`None`)
        overwrite (bool, optional): If set to :obj:`True`, a folder that an
            earlier call has written is replaced. (default: :obj:`False`)

    Returns:
        The report; :func:`print` shows it as text.

    Raises:
        ImportError: If an optional dependency is not installed:
            :obj:`pip install "tmfun-pyg[data]"` for pandas and pyarrow,
            :obj:`pip install "tmfun-pyg[encode]"` for sentence-transformers.
        ValueError: If the input is not what is expected, or if the folder
            is there; the message names the argument or file, and the
            column, row or items.
        OSError: If the folder cannot be written.
    """
    features, feature_ids = features or {}, feature_ids or {}
    check_zero_rows(zero_rows)
    check_modalities(list(features))
    unknown = [
        modality for modality in feature_ids if modality not in features
    ]
    if unknown:
        raise ValueError(
            f"feature_ids: found {unknown}, expected some of the modalities "
            f"{list(features)}"
        )
    if re.fullmatch(r"[\w-][\w.-]*", name) is None:
        raise ValueError(
            f"name: found '{name}', expected letters, digits, '_', '-' and "
            f"'.' alone"
        )
    target = osp.join(osp.abspath(osp.expanduser(os.fspath(out))), name)
    _check_target(target, name, overwrite)

    source, frame = read_frame(os.fspath(log), user_col, item_col)
    if split is None:
        split = "given" if LABEL in frame.columns else "random"
    label_col = LABEL if split == "given" else None
    full_log = number_log(
        source, frame, user_col, item_col, time_col, label_col
    )
    del frame
    tables = {
        modality: read_feature_file(
            os.fspath(path),
            feature_ids.get(modality),
            item_col,
            full_log,
            encoder,
        )
        for modality, path in features.items()
    }
    dataset = MultimodalRecDataset.from_interactions(
        full_log,
        tables,
        time_col=time_col,
        split=split,
        ratios=ratios,
        k_core=k_core,
        seed=seed,
        zero_rows=zero_rows,
    )
    for modality, path in features.items():
        mask = dataset[0]["item"].get(f"mask_{modality}")
        if mask is not None and not bool(mask.any()):
            raise ValueError(
                f"'{path}': found features of none of the items that "
                f"k_core={k_core} leaves, expected some"
            )
    settings: Dict[str, Any] = {"split": split, "k_core": k_core}
    if split in ("random", "global_time"):
        settings["ratios"] = list(ratios)
    if split == "random":
        settings["seed"] = seed
    report = describe(name, settings, dataset, full_log)
    with atomic_folder(target) as part:
        _write_files(dataset, report, str(part))
    return report


def _check_target(target: str, name: str, overwrite: bool) -> None:
    if not osp.lexists(target):
        return
    if not overwrite:
        raise ValueError(
            f"'{target}' is there already; pass overwrite=True to replace it"
        )
    own = {f"{name}.inter", REPORT, *MAPPINGS.values()}
    files = os.listdir(target) if osp.isdir(target) else [name]
    other = [f for f in files if f not in own and not f.endswith(SUFFIX)]
    if other:
        raise ValueError(
            f"'{target}': found '{other[0]}', expected nothing but what an "
            f"earlier call has written; it is not replaced"
        )


def _write_files(
    dataset: MultimodalRecDataset, report: PrepareReport, folder: str
) -> None:
    pd = import_pandas()
    data = dataset[0]
    store = data["user", "interacts", "item"]
    splits = (
        store.edge_index,
        store.val_edge_label_index,
        store.test_edge_label_index,
    )
    rows = np.concatenate(
        [
            np.column_stack([*pairs.numpy(), np.full(pairs.size(1), label)])
            for label, pairs in enumerate(splits)
        ]
    )
    pd.DataFrame(rows, columns=["userID", "itemID", LABEL]).to_csv(
        osp.join(folder, f"{report.name}.inter"), sep="\t", index=False
    )
    for modality in dataset.modalities:
        matrix = data["item"][f"x_{modality}"].numpy()
        np.save(osp.join(folder, modality + SUFFIX), matrix)
    for kind, ids in (("user", dataset.user_ids), ("item", dataset.item_ids)):
        write_mapping(osp.join(folder, MAPPINGS[kind]), f"{kind}ID", ids)
    with open(osp.join(folder, REPORT), "w", encoding="utf-8") as f:
        json.dump(asdict(report), f, indent=2, ensure_ascii=False)
        f.write("\n")

import json
import os
import os.path as osp
import re
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import pandas as pd

from tmfun_pyg.datasets import _mmrec
from tmfun_pyg.datasets._feature_files import read_feature_file
from tmfun_pyg.datasets._formats import Format, read_format, read_format_items
from tmfun_pyg.datasets._from_log import content_from_log
from tmfun_pyg.datasets._ids import IdType
from tmfun_pyg.datasets._log import read_log
from tmfun_pyg.datasets._log_files import TextFormat
from tmfun_pyg.datasets._split import Ratios, Split
from tmfun_pyg.datasets._text_encoder import encode_texts
from tmfun_pyg.datasets._text_table import read_text_table
from tmfun_pyg.datasets.features import (
    ZeroRows,
    check_by_modality,
    check_modalities,
)
from tmfun_pyg.datasets.item_table import ItemFile, item_file, read_item_file
from tmfun_pyg.datasets.prepare_report import PrepareReport, describe
from tmfun_pyg.datasets.projection import check_channels
from tmfun_pyg.utils.files import atomic_folder, check_replaceable

REPORT = "report.json"
TEXTS = "item_texts.csv"
TEXT = "text"  # The modality that is encoded from a table.


def prepare(
    log: Union[str, "os.PathLike[str]"],
    out: Union[str, "os.PathLike[str]"],
    name: str,
    features: Optional[Dict[str, str]] = None,
    *,
    format: Optional[Format] = None,
    user_col: str = "user_id",
    item_col: str = "item_id",
    time_col: Optional[str] = None,
    id_type: IdType = "auto",
    sep: Optional[str] = None,
    columns: Optional[Sequence[str]] = None,
    encoding: Optional[str] = None,
    split: Optional[Split] = None,
    ratios: Ratios = (0.8, 0.1, 0.1),
    k_core: int = 0,
    seed: int = 0,
    zero_rows: ZeroRows = "error",
    feature_channels: Optional[int] = None,
    feature_ids: Optional[Dict[str, str]] = None,
    texts: Optional[str] = None,
    text_cols: Optional[Sequence[str]] = None,
    encoder: Optional[str] = None,
    items: Optional[str] = None,
    overwrite: bool = False,
) -> PrepareReport:
    r"""Writes a log and features as a data set in MMRec format.

    :obj:`MultimodalRecDataset(out, name, zero_rows="mask")` reads the folder
    :obj:`<out>/<name>` and gives the same data set as
    :meth:`MultimodalRecDataset.from_interactions` for the same log and
    features; see there for how they are read, joined and split. The folder
    holds

    * :obj:`<name>.inter`: the interactions and their splits, as indices,
    * :obj:`<modality>_feat.npy`: the features of all items (float32), with
      rows of zeros for items that lack the modality,
    * :obj:`<modality>_projection.npy`: the matrix that features were projected
      with, if they were, for items added later,
    * :obj:`u_id_mapping.csv` and :obj:`i_id_mapping.csv`: the raw ids, which
      are read back with their type, integers or strings,
    * :obj:`item_table.csv`: titles, pictures and groups of items, if
      :obj:`items` is given,
    * :obj:`interaction_times.npy`: the time of each row of interactions in
      seconds since 1970, if :obj:`time_col` is given and holds dates or
      numbers in one known unit,
    * :obj:`item_texts.csv`: the texts of items, with the columns
      :obj:`item_id` and :obj:`text`, if :obj:`format` has them,
    * :obj:`report.json`: the report.

    It is written completely or not at all.

    The features of a modality are one of these:

    * A :obj:`.npy` file with one row per item. The file
      :obj:`<stem>_ids.txt` or :obj:`<stem>.ids.txt` next to it holds the item
      id of each row, one per line. Without ids, rows must follow the sorted
      order of the distinct item ids of the log (before :obj:`k_core`), and
      the report says that this was assumed.
    * A :obj:`.parquet` file with the column :obj:`item_col` and either one
      column of lists or any number of numeric columns.
    * A folder of vectors, :obj:`<item id>.npy`, as Ducho writes for a
      modality and a model.
    * A folder of texts, :obj:`<item id>.txt`, which a sentence-transformers
      model encodes. Empty texts are encoded as zeros.

    The modality :obj:`text` may also come from columns of a table,
    :obj:`texts`. Items without a text lack it. Encoded texts are cached under
    :obj:`$TMFUN_CACHE`, keyed by the text and the model, so that a killed call
    resumes.

    Item ids of files match those of the log as text: :obj:`12` is
    :obj:`"12"`, but not :obj:`"012"`. Unless all item ids are integers, all
    are strings.

    Args:
        log (str): The path of the log, a :obj:`.csv`, :obj:`.tsv` or
            :obj:`.parquet` file, or a :obj:`.inter` file of RecBole or MMRec.
            Text may be compressed: :obj:`.csv.gz`.
        out (str): The parent folder of the data set's folder.
        name (str): The name of the data set.
        features (Dict[str, str], optional): For each modality the path of
            its features. (default: :obj:`None`)
        format (str, optional): The layout of the log and of :obj:`items` if
            they are from a public data set, so that columns need not be
            named: :obj:`"movielens"`, :obj:`"amazon2018"`,
            :obj:`"amazon2023"`, :obj:`"mmssl"` or :obj:`"recbole"`. Every
            rating and review is an interaction. (default: :obj:`None`)
        user_col (str, optional): The column of user ids.
            (default: :obj:`"user_id"`)
        item_col (str, optional): The column of item ids, in the log (unless
            :obj:`format` sets it) and in features, :obj:`texts` and
            :obj:`items`. (default: :obj:`"item_id"`)
        time_col (str, optional): The column of times: numbers, dates, or
            strings in ISO 8601. (default: :obj:`None`)
        id_type (str, optional): If set to :obj:`"auto"`, ids in text are
            integers if all in a column are 64-bit integers as Python writes
            them (:obj:`5`, but not :obj:`05`), and strings otherwise. If set
            to :obj:`"int"`, all ids of a column must be integers if any is,
            and :obj:`5863.0` counts as one; with :obj:`"auto"`, it is an
            error among integers. If set to :obj:`"str"`, all are
            strings, so that items with other ids can be added later.
            (default: :obj:`"auto"`)
        sep (str, optional): The column separator of a text log.
            (default: a comma in :obj:`.csv` files, tabs in others)
        columns (List[str], optional): The names of all columns of a text log
            without a header. (default: :obj:`None`)
        encoding (str, optional): The encoding of a text log.
            (default: UTF-8)
        split (str, optional): How interactions are split: :obj:`"random"`,
            :obj:`"leave_last_out"`, :obj:`"global_time"`, or
            :obj:`"given"` (by the column :obj:`x_label` of the log).
            (default: :obj:`"given"` if the log has that column, else
            :obj:`"random"`)
        ratios (Tuple[float, float, float], optional): The shares of
            training, validation and test.
            (default: :obj:`(0.8, 0.1, 0.1)`)
        k_core (int, optional): The minimum number of interactions: users
            and items with fewer are dropped until all have that many.
            (default: :obj:`0`)
        seed (int, optional): The seed of the random split.
            (default: :obj:`0`)
        zero_rows (str, optional): If set to :obj:`"error"`, all-zero features
            are an error. If set to :obj:`"mask"`, their items lack the
            modality. (default: :obj:`"error"`)
        feature_channels (int, optional): Features with more columns are
            projected to this number by a principal component analysis of the
            items with interactions, which preserves cosines and standardized
            rows as well as possible. They are read in blocks, and the
            features of items added later are projected as well.
            (default: :obj:`256` for matrices of more than :math:`2^{28}`
            numbers, 1 GiB in single precision, and all columns for others)
        feature_ids (Dict[str, str], optional): For modalities in
            :obj:`.npy` files, the path of the file of item ids, if it is
            not next to them. (default: :obj:`None`)
        texts (str, optional): The path of a :obj:`.csv`, :obj:`.tsv` or
            :obj:`.parquet` file with the texts of items, one row per item:
            the column :obj:`item_col` and those of :obj:`text_cols`, such as
            :obj:`item_texts.csv`. (default: :obj:`None`)
        text_cols (List[str], optional): The columns of :obj:`texts` that
            make up a text, in this order. (default: :obj:`None`)
        encoder (str, optional): The sentence-transformers model for texts: a
            folder, or a name that the library resolves or downloads.
            (default: :obj:`None`)
        items (str, optional): The path of a :obj:`.csv`, :obj:`.tsv` or
            :obj:`.parquet` file with titles, pictures and groups, one row per
            item: the column :obj:`item_col` and any of :obj:`title`,
            :obj:`image_url` and :obj:`group`, read back as
            :obj:`dataset.item_table`. The report lists the columns and items
            that were not read. (default: :obj:`None`)
        overwrite (bool, optional): If set to :obj:`True`, will replace the
            folder that an earlier call wrote.
            (default: :obj:`False`)

    Returns:
        The report.

    Raises:
        ImportError: If an optional dependency is not installed:
            :obj:`pip install "tmfun-pyg[data]"` for pyarrow (Parquet),
            :obj:`pip install "tmfun-pyg[encode]"` for sentence-transformers.
        ValueError: If an argument is out of range, if data has the wrong
            format, if a split has no user with training interactions, or if
            the folder exists; the message names the argument or file, and
            the column, row or items.
        OSError: If the folder cannot be written.
    """
    features = {} if features is None else features
    feature_ids = feature_ids or {}
    check_modalities(check_by_modality(features), zero_rows)
    check_channels(feature_channels)
    unknown = [name for name in feature_ids if name not in features]
    if unknown:
        raise ValueError(
            f"'feature_ids' must be given for modalities of {list(features)} "
            f"(got {unknown})"
        )
    files = dict(features)
    if texts is not None:
        if not text_cols or isinstance(text_cols, str):
            raise ValueError(
                f"'text_cols' must list the columns of texts in '{texts}' (got "
                f"{text_cols!r})"
            )
        if len(set(text_cols)) < len(text_cols):
            raise ValueError(
                f"'text_cols' must name each column once (got "
                f"{', '.join(map(str, text_cols))})"
            )
        if TEXT in features:
            raise ValueError(
                f"'features' must not have the modality '{TEXT}' beside "
                f"'texts', which are it"
            )
        files[TEXT] = os.fspath(texts)
    elif text_cols:
        raise ValueError(
            f"'text_cols' must come with 'texts', the file of these columns "
            f"(got {list(text_cols)})"
        )
    has_folder = any(osp.isdir(path) for path in features.values())
    if encoder is not None and texts is None and not has_folder:
        raise ValueError(
            f"'encoder' must come with 'texts', or with a folder of texts in "
            f"'features' (got {encoder!r})"
        )
    if re.fullmatch(r"[\w-][\w.-]*", name) is None:
        raise ValueError(
            f"'name' must consist of letters, digits, '_', '-' and '.', and "
            f"not begin with '.' (got '{name}')"
        )
    target = osp.join(osp.abspath(osp.expanduser(os.fspath(out))), name)
    own = _mmrec.raw_files(target, name, _mmrec.find_modalities(target))
    check_replaceable(target, [*own, REPORT, TEXTS], overwrite)

    given = None if split is None else split == "given"
    source: Any = os.fspath(log)
    names = user_col, item_col, time_col
    if format is not None:
        log_col = "item_id" if files or items is not None else item_col
        _check_left_out(
            format, user_col, log_col, time_col, sep, columns, encoding
        )
        source, user, item, time = read_format(format, source)
        names = user, item, time
    full_log = read_log(
        source,
        *names,
        given,
        id_type,
        TextFormat(sep, columns, encoding),
        path=os.fspath(log),
    )
    if split is None:
        split = "given" if "label" in full_log.rows else "random"
    tables = {}
    for modality, path in features.items():
        ids_path = feature_ids.get(modality)
        tables[modality] = read_feature_file(
            os.fspath(path), ids_path, item_col, id_type, encoder
        )
    if texts is not None and text_cols:
        ids, rows = read_text_table(files[TEXT], item_col, text_cols, id_type)
        tables[TEXT] = ids, encode_texts(rows, encoder, f"'{files[TEXT]}'")
    content = content_from_log(
        full_log,
        tables,
        split,
        ratios,
        k_core,
        seed,
        zero_rows,
        id_type,
        files,
        feature_channels,
    )
    for modality, path in files.items():
        mask = content.data["item"].get(f"mask_{modality}")
        if mask is not None and not bool(mask.any()):
            raise ValueError(
                f"'{path}' must have features of some items of the k-core "
                f"(got none for k_core={k_core})"
            )
    ignored: List[str] = []
    item_texts = None
    if items is not None:
        known = full_log.item_ids
        file, item_texts, ignored = _read_items(
            os.fspath(items), format, item_col, id_type, known
        )
        table = file.of_items(content.item_ids)
        content = content._replace(item_table=table)
        ignored += file.not_read(content.item_ids)
    settings: Dict[str, Any] = {"split": split, "k_core": k_core}
    if split in ("random", "global_time"):
        settings["ratios"] = list(ratios)
    if split == "random":
        settings["seed"] = seed
    without_ids = [m for m, x in tables.items() if not isinstance(x, tuple)]
    report = describe(name, settings, content, full_log, without_ids, ignored)
    for judging, count in report.judged.items():
        if count == 0:
            raise ValueError(
                f"'split' must give some users interactions both for training "
                f"and for {judging} (got {split!r}, which gives none)"
            )
    del full_log  # It takes much memory.
    with atomic_folder(target) as part:
        _mmrec.write(content, name, str(part))
        if item_texts is not None:
            is_kept = item_texts["item_id"].isin(content.item_ids.astype(str))
            item_texts[is_kept].to_csv(
                part / TEXTS, index=False, lineterminator="\n"
            )
        with open(part / REPORT, "w", encoding="utf-8") as f:
            json.dump(asdict(report), f, indent=2, ensure_ascii=False)
            f.write("\n")
    return report


def _check_left_out(format: Format, *given: Any) -> None:
    """Checks that the options that a format sets have their defaults."""
    names = ("user_col", "item_col", "time_col", "sep", "columns", "encoding")
    defaults = ("user_id", "item_id", None, None, None, None)
    for name, value, default in zip(names, given, defaults, strict=True):
        if value != default:
            raise ValueError(
                f"'{name}' must not be given with format='{format}', which "
                f"sets it (got {value!r})"
            )


def _read_items(
    path: str,
    format: Optional[Format],
    item_col: str,
    id_type: IdType,
    item_ids: np.ndarray,
) -> Tuple[ItemFile, Optional[pd.DataFrame], List[str]]:
    """Returns a file of items, their texts if it has any, and short lines on
    everything that was not read.
    """
    found = read_format_items(format, path, item_ids) if format else None
    if found is None:
        return read_item_file(path, item_col, id_type), None, []
    frame, ignored = found
    texts = frame[["item_id", "text"]] if "text" in frame else None
    frame = frame.drop(columns="text", errors="ignore")
    return item_file(frame, path, "item_id", id_type), texts, ignored

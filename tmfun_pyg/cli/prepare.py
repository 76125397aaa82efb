from math import inf
from pathlib import Path
from typing import Dict, List, Literal, Optional, Tuple

from tmfun_pyg.cli.command import show
from tmfun_pyg.datasets import prepare as prepare_folder
from tmfun_pyg.training import DatasetOptions

SEVERAL = {
    "columns": "The names of all columns of a text log without a header, as "
    "--columns user_id item_id timestamp.",
    "text_cols": "The columns of --texts that make up a text, as --text_cols "
    "title description.",
}


def prepare(
    log: Path,
    out: Path,
    name: str,
    features: Optional[Dict[str, str]] = None,
    feature_ids: Optional[Dict[str, str]] = None,
    format: Optional[
        Literal["movielens", "amazon2018", "amazon2023", "mmssl", "recbole"]
    ] = None,
    user_col: str = "user_id",
    item_col: str = "item_id",
    time_col: Optional[str] = None,
    id_type: Literal["auto", "int", "str"] = "auto",
    sep: Optional[str] = None,
    columns: Optional[List[str]] = None,
    encoding: Optional[str] = None,
    split: Optional[
        Literal["random", "leave_last_out", "global_time", "given"]
    ] = None,
    ratios: Tuple[float, float, float] = (0.8, 0.1, 0.1),
    k_core: int = 0,
    seed: int = 0,
    zero_rows: Literal["error", "mask"] = "error",
    feature_channels: Optional[int] = None,
    texts: Optional[Path] = None,
    text_cols: Optional[List[str]] = None,
    encoder: Optional[str] = None,
    items: Optional[Path] = None,
    overwrite: bool = False,
) -> None:
    r"""Makes a data set from an interaction log and item features, and reports
    what is in it.

    Args:
        log: The log: .csv, .tsv, .parquet, or a .inter file of RecBole or
            MMRec; text files may be compressed (.csv.gz).
        out: The folder to make the data set's folder in.
        name: The name of the data set.
        features: The features of each modality, as --features.MODALITY PATH:
            a .npy file, a .parquet file, a folder of texts ITEM_ID.txt, or a
            folder of vectors ITEM_ID.npy, as Ducho writes them.
            Row n of NAME.npy belongs to the item in line n of NAME_ids.txt
            next to it, or of --feature_ids; with neither, rows follow the
            sorted order of the item ids of the log.
        feature_ids: The file with the item ids of a .npy file, one per line,
            as --feature_ids.MODALITY PATH.
        format: The layout of the log and of --items, if they are files of a
            public data set: MovieLens, reviews of Amazon, the splits of MMSSL
            and DiffMM, or files of RecBole.
        user_col: The column of user ids.
        item_col: The column of item ids, in all files whose layout --format
            does not set.
        time_col: The column of times.
        id_type: Whether ids are text (str, so that items with other ids can
            be added later) or, unless all of a column are text, integers (int,
            which takes 5863.0 for 5863); by default as they are in the log.
        sep: The column separator of a text log, such as ";", "\t" or "::";
            by default that of its suffix.
        columns: See above.
        encoding: The encoding of a text log, by default UTF-8.
        split: How to split interactions; by default by the column x_label of
            the log, or at random if it has none.
        ratios: The shares of training, validation and test.
        k_core: Drop users and items with fewer interactions.
        seed: The seed of the random split.
        zero_rows: What a feature row of zeros means: a mistake, or an item
            that lacks the modality (mask).
        feature_channels: Project features with more columns to this many; by
            default, only matrices of more than 2^28 numbers (1 GiB), to 256.
        texts: A .csv, .tsv or .parquet file with one row per item, whose
            columns --text_cols become the modality text; items without a text
            lack it.
        text_cols: See above.
        encoder: The sentence-transformers model for texts: a folder, or a name
            that the library resolves or downloads.
        items: A .csv, .tsv or .parquet file with one row per item: the column
            --item-col and any of title, image_url and group.
        overwrite: Whether to replace a data set of this name.
    """
    if sep is not None:
        sep = sep.replace("\\t", "\t")  # A tab is hard to type.
    report = prepare_folder(**locals())  # Its arguments have these names.
    print(report)
    root = out.expanduser().absolute() / name
    options = ["--config", "own_data", "--data.root", root]
    if not report.modalities:
        options += ["--model", "LightGCN"]  # The default reads features.
    trained = [numbers["trained"] for numbers in report.modalities.values()]
    if min(trained, default=inf) <= DatasetOptions.k:
        options += ["--data.k", max(1, min(trained) - 1)]
    print(f"\nNext:\n{show('fit', *options)}")

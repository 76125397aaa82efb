import os.path as osp
from typing import Any


def read_parquet(path: str) -> Any:
    """Returns a Parquet file as DataFrame, its index as columns.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If the file is missing, or no Parquet file.
    """
    if not osp.isfile(path):
        raise ValueError(f"'{path}' does not exist")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as err:
        raise ImportError(
            'reading Parquet needs pyarrow: pip install "tmfun-pyg[data]"'
        ) from err
    try:
        # Without partitioning: folder names are not parsed as columns.
        table = pq.read_table(path, partitioning=None)
    except pa.ArrowInvalid as err:
        raise ValueError(f"'{path}' must be a Parquet file ({err})") from err
    return table.to_pandas(ignore_metadata=True)

from pathlib import Path
from typing import Dict, Iterator

import numpy as np
import pytest

from tmfun_pyg.recommender.tables import write_table


def pieces(dtype: type) -> Iterator[Dict[str, np.ndarray]]:
    """Yields two, the first of which lacks a score."""
    score = np.array([np.nan, 0.1], dtype)
    yield {"item_id": np.array(["nan", "b"]), "score": score}
    yield {"item_id": np.array(["c"]), "score": np.array([-2.5], dtype)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_numbers(tmp_path: Path, dtype: type) -> None:
    """Are empty cells and nulls: databases rank NaN above all numbers."""
    write_table(tmp_path / "out.csv", pieces(dtype))
    text = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert text.split() == ["item_id,score", "nan,", "b,0.1", "c,-2.5"]
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "out.parquet", pieces(dtype))
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["item_id"].to_pylist() == ["nan", "b", "c"]
    assert table["score"].to_pylist() == [None, dtype(0.1), -2.5]
    width = table.schema.field("score").type.bit_width
    assert width == 8 * np.dtype(dtype).itemsize

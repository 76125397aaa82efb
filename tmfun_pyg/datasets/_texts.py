import os
import os.path as osp
from typing import List, Optional, Tuple

import numpy as np


def read_text(path: str, newline: Optional[str] = None) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
        ValueError: If the file is missing, or not in UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig", newline=newline) as f:
            return f.read()
    except FileNotFoundError as err:
        raise ValueError(f"'{path}' does not exist") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"'{path}' must be text in UTF-8 ({err})") from err


def encode_texts(
    folder: str, encoder: Optional[str]
) -> Tuple[List[str], np.ndarray]:
    """Encodes the texts of a folder of files ``<item id>.txt``.

    Args:
        folder (str): The folder. Empty texts are encoded as zeros.
        encoder (str, optional): The folder of a sentence-transformers model.

    Returns:
        The item ids and a matrix with a row for each.

    Raises:
        ImportError: If sentence-transformers is not installed.
        ValueError: If a file or the model is missing.
    """
    files = sorted(f for f in os.listdir(folder) if not f.startswith("."))
    other = [file for file in files if not file.endswith(".txt")]
    if other or not files:
        raise ValueError(
            f"'{folder}' must hold files '<item id>.txt' and no others (got "
            f"{other[:1] or 'no file'})"
        )
    texts = [read_text(osp.join(folder, file)) for file in files]
    filled = np.array([text.strip() != "" for text in texts])
    if not filled.any():
        raise ValueError(f"'{folder}' must hold texts (got empty files alone)")
    if encoder is None or not osp.isdir(encoder):
        raise ValueError(
            f"'encoder' must be the folder of a sentence-transformers model "
            f"for the texts in '{folder}' (got {encoder!r}); models are not "
            f"downloaded"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as err:
        raise ImportError(
            "encoding texts needs sentence-transformers: pip install "
            '"tmfun-pyg[encode]"'
        ) from err
    rows = SentenceTransformer(encoder, local_files_only=True).encode(
        [text for text in texts if text.strip()],
        convert_to_numpy=True,
        show_progress_bar=len(texts) > 1000,
    )
    matrix = np.zeros((len(texts), rows.shape[1]), dtype=rows.dtype)
    matrix[filled] = rows
    return [file.removesuffix(".txt") for file in files], matrix

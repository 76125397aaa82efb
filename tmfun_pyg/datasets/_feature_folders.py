"""Folders with one file per item: texts, or vectors as Ducho writes them."""

import os
import os.path as osp
from typing import List, Optional, Tuple

import numpy as np
from tqdm import tqdm

from tmfun_pyg.datasets._files import read_text
from tmfun_pyg.datasets._text_encoder import encode_texts
from tmfun_pyg.datasets.features import NUMBERS, read_features

TEXT, VECTOR = ".txt", ".npy"


def read_feature_folder(
    folder: str, encoder: Optional[str]
) -> Tuple[List[str], np.ndarray]:
    """Reads a folder of files ``<item id>.txt`` or ``<item id>.npy``.

    Args:
        folder (str): The folder. Empty texts are encoded as zeros.
        encoder (str, optional): See :func:`encode_texts`.

    Returns:
        The item ids and a matrix with one row for each.

    Raises:
        ImportError: If sentence-transformers is needed, but not installed.
        ValueError: If a file has the wrong format, or the model is missing.
    """
    files = sorted(f for f in os.listdir(folder) if not f.startswith("."))
    suffix = VECTOR if files and files[0].endswith(VECTOR) else TEXT
    other = [file for file in files if not file.endswith(suffix)]
    if other or not files:
        raise ValueError(
            f"'{folder}' must hold files '<item id>.txt' or '<item id>.npy', "
            f"and no others (got {other[:1] or 'no file'})"
        )
    paths = [osp.join(folder, file) for file in files]
    matrix = (
        _read_vectors(folder, paths)
        if suffix == VECTOR
        else _read_texts(folder, paths, encoder)
    )
    return [file.removesuffix(suffix) for file in files], matrix


def _read_texts(
    folder: str, paths: List[str], encoder: Optional[str]
) -> np.ndarray:
    texts = [read_text(path) for path in paths]
    filled = [text for text in texts if text.strip()]
    if not filled:
        raise ValueError(f"'{folder}' must hold texts (got only empty files)")
    rows = encode_texts(filled, encoder, f"'{folder}'")
    matrix = np.zeros((len(texts), rows.shape[1]), dtype=rows.dtype)
    matrix[[bool(text.strip()) for text in texts]] = rows
    return matrix


def _read_vectors(folder: str, paths: List[str]) -> np.ndarray:
    vectors: List[np.ndarray] = []
    for path in tqdm(paths, desc=folder, unit="file", disable=None):
        vector = read_features(path)
        is_vector = vector.ndim > 0 and vector.size == vector.shape[-1] > 0
        if not is_vector or vector.dtype.kind not in NUMBERS:
            raise ValueError(
                f"'{path}' must hold numbers of shape [num_features] or "
                f"[1, num_features] (got {vector.dtype} of shape "
                f"{list(vector.shape)})"
            )
        if vectors and vector.size != vectors[0].size:
            raise ValueError(
                f"'{path}' must hold {vectors[0].size} numbers, as "
                f"'{paths[0]}' does (got {vector.size})"
            )
        vectors.append(np.array(vector).reshape(-1))  # Closes the file.
    return np.stack(vectors)

"""Encodes texts as features with sentence-transformers."""

import hashlib
import os.path as osp
import zipfile
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from tmfun_pyg.datasets._processed import cache_folder
from tmfun_pyg.datasets.features import to_numpy
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write

CHUNK = 1024  # Texts that are encoded, and then cached, at once.


def encode_texts(
    texts: Sequence[str], encoder: Optional[str], source: str
) -> np.ndarray:
    """Encodes texts, equal ones once. The results are cached, keyed by the
    text, so that a killed call resumes.

    Args:
        texts (List[str]): The texts, at least one.
        encoder (str, optional): The folder or the name of the model.
        source (str): The source of the texts, for errors.

    Returns:
        A matrix with one row per text.

    Raises:
        ImportError: If sentence-transformers is not installed.
        ValueError: If there is no such model, or if a cache file is damaged.
        OSError: If the cache cannot be written.
    """
    if not encoder:
        raise ValueError(
            f"'encoder' must be the folder or the name of a "
            f"sentence-transformers model for the texts in {source} (got "
            f"{encoder!r})"
        )
    model = _load_model(encoder)
    folder = Path(cache_folder(), "texts", _digest_model(model))
    keys, first, place = np.unique(
        np.array([_digest(text) for text in texts], dtype=np.bytes_),
        return_index=True,
        return_inverse=True,
    )
    parts = list(_read_kept(folder, keys))
    is_left = np.ones(len(keys), dtype=bool)
    for rows, _ in parts:
        is_left[rows] = False
    left = np.flatnonzero(is_left)
    bar = tqdm(
        desc=f"texts in {source}",
        total=len(keys),
        initial=len(keys) - len(left),
        unit="text",
        disable=None,
    )
    with bar:
        for start in range(0, len(left), CHUNK):
            rows = left[start : start + CHUNK]
            vectors = model.encode(
                [texts[row] for row in first[rows]],
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            name = hashlib.blake2b(keys[rows].tobytes(), digest_size=16)
            with atomic_write(folder / f"{name.hexdigest()}.npz") as part:
                np.savez(part, keys=keys[rows], vectors=vectors)
            parts.append((rows, vectors))
            bar.update(len(rows))
    size, dtype = parts[0][1].shape[1], parts[0][1].dtype
    matrix = np.empty((len(keys), size), dtype=dtype)
    for rows, vectors in parts:
        matrix[rows] = vectors
    return matrix[place]


def _load_model(encoder: str) -> Any:
    library = import_extra("sentence_transformers", "encode")
    try:
        return library.SentenceTransformer(
            encoder, local_files_only=osp.isdir(encoder)
        )
    except (OSError, RuntimeError, ValueError) as err:
        reason = str(err).partition("\n")[0]
        raise ValueError(
            f"'encoder' must be the folder or the name of a "
            f"sentence-transformers model (got '{encoder}': {reason})"
        ) from err


def _digest(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _digest_model(model: Any) -> str:
    """Returns a digest of the layout and the weights of a model."""
    digest = hashlib.blake2b(repr(model).encode(), digest_size=16)
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(to_numpy(weight)).data)
    return digest.hexdigest()


def _read_kept(
    folder: Path, keys: np.ndarray
) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Yields, for each cache file, the positions in the sorted keys that it
    has vectors for, and these vectors.
    """
    for path in sorted(folder.glob("[!.]*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                kept = file["keys"]
                rows = np.searchsorted(keys, kept).clip(max=len(keys) - 1)
                is_found = keys[rows] == kept
                if is_found.any():
                    yield rows[is_found], file["vectors"][is_found]
        except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as err:
            raise ValueError(
                f"'{path}' is damaged ({err}); delete it to encode its texts "
                f"again"
            ) from err

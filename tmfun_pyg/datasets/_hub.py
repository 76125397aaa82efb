"""Data sets on the Hugging Face hub."""

import json
import os
from typing import Dict
from urllib.parse import quote

from tmfun_pyg.datasets._download import RemoteFile, read_url

ENDPOINT = "https://huggingface.co"


def list_folder(repo: str, folder: str) -> Dict[str, RemoteFile]:
    """Returns the files of a folder of a data set, by their paths.

    ``$HF_ENDPOINT`` sets the hub, as in Hugging Face's own libraries.

    Raises:
        ConnectionError: If the list cannot be downloaded.
        ValueError: If it has the wrong format.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or ENDPOINT
    endpoint = endpoint.rstrip("/")
    url = f"{endpoint}/api/datasets/{repo}/tree/main/{folder}?recursive=true"
    files = {}
    try:
        for entry in json.loads(read_url(url)):
            if entry["type"] == "file":
                path = str(entry["path"])
                files[path] = RemoteFile(
                    f"{endpoint}/datasets/{repo}/resolve/main/{quote(path)}",
                    int(entry["size"]),
                    # Large files are pointers in git.
                    str(entry.get("lfs", entry)["oid"]),
                )
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise ValueError(
            f"'{url}' must be a list of files with type, path, size and oid "
            f"(got {type(err).__name__}: {err})"
        ) from err
    return files

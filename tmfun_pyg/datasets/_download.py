"""Downloads of files, with checksums and resumption."""

import hashlib
import os
import os.path as osp
import shutil
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from tmfun_pyg._version import __version__

BLOCK = 2**20  # Bytes that are read at once.
TIMEOUT = 60  # Seconds without a response.
AGENT = f"tmfun-pyg/{__version__}"


class RemoteFile(NamedTuple):
    """A file that can be downloaded.

    Args:
        url (str): Its URL.
        size (int): Its size in bytes.
        digest (str): Its SHA-256 or, if it has 40 digits, its git object id.
    """

    url: str
    size: int
    digest: str


def read_url(url: str) -> bytes:
    """Returns the content of a URL.

    Raises:
        ConnectionError: If it cannot be downloaded.
    """
    with _open(url) as response:
        try:
            return response.read()
        except (OSError, HTTPException) as err:
            raise _unreachable(url, err) from err


def download(file: RemoteFile, path: str) -> None:
    """Downloads a file, and puts it in place once it has been checked. An
    interrupted transfer leaves ``<path>.part``, from which the next call
    resumes.

    Raises:
        ConnectionError: If it cannot be downloaded.
        OSError: If it cannot be written.
        ValueError: If its size or checksum is wrong.
    """
    if file.size < 1:
        raise ValueError(f"'{file.url}' must not be empty (got {file.size})")
    part = path + ".part"
    have = osp.getsize(part) if osp.isfile(part) else 0
    if have > file.size:  # It belongs to another file.
        os.remove(part)
        have = 0
    free = shutil.disk_usage(osp.dirname(path)).free
    if file.size - have > free:
        raise OSError(
            f"'{path}' cannot be written: {file.size - have} bytes must be "
            f"free on the disk (got {free})"
        )
    with tqdm(
        total=file.size,
        desc=osp.basename(path),
        unit="B",
        unit_scale=True,
        disable=None,
    ) as bar:
        # Reconnects as long as each connection delivers some bytes.
        while have < file.size:
            before, have = have, _append(file, part, have, bar)
            if have <= before:
                raise ConnectionError(
                    f"'{file.url}' cannot be downloaded: the connection ended "
                    f"after {have} of {file.size} bytes (call it again to go "
                    f"on there)"
                )
    found = _digest(part, file)
    if found != file.digest:
        os.remove(part)
        raise ValueError(
            f"'{file.url}' must have the checksum {file.digest} (got {found})"
        )
    with open(part, "rb+") as f:
        os.fsync(f.fileno())
    os.replace(part, path)


def _append(file: RemoteFile, part: str, have: int, bar: tqdm) -> int:
    """Downloads the rest of a file, and returns its size so far."""
    with _open(file.url, have) as response:
        is_rest = response.status == 206
        total = response.headers.get("Content-Length")
        if is_rest:
            total = response.headers.get("Content-Range", "").split("/")[-1]
        if total and total.isdecimal() and int(total) != file.size:
            raise ValueError(
                f"'{file.url}' must have {file.size} bytes (got {total})"
            )
        have = have if is_rest else 0
        bar.update(have - bar.n)
        with open(part, "ab" if is_rest else "wb") as f:
            while block := _read(response):
                f.write(block)
                bar.update(len(block))
    return osp.getsize(part)


def _open(url: str, start: int = 0) -> HTTPResponse:
    headers = {"User-Agent": AGENT}
    if start > 0:
        headers["Range"] = f"bytes={start}-"
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except (OSError, HTTPException, ValueError) as err:
        raise _unreachable(url, err) from err


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, HTTPException):  # Interrupted, as the size will show.
        return b""


def _unreachable(url: str, err: Exception) -> ConnectionError:
    reason = err.reason if isinstance(err, URLError) else err
    if isinstance(err, HTTPError):
        reason = f"HTTP status {err.code} ({err.reason})"
    return ConnectionError(f"'{url}' cannot be downloaded: {reason}")


def _digest(path: str, file: RemoteFile) -> str:
    if len(file.digest) == 40:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"blob {osp.getsize(path)}\0".encode())
    else:
        digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()

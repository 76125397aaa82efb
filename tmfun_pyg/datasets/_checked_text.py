"""Text files that are checked while they are read."""

import csv
import gzip
import io
from typing import Any, Optional

BLOCK = 2**22  # Bytes or characters that are read at once.


class BadText(Exception):
    """An error in a text file."""


class CheckedText(io.RawIOBase):
    """The text of a file as bytes in UTF-8, without line breaks at its end.

    Args:
        path (str): The file, optionally gzipped.
        encoding (str): Its encoding. UTF-8 is not decoded here.
        sep (str, optional): The field separator, to check that quotation
            marks are closed and that no field holds line breaks.

    Raises:
        BadText: If the encoding is unknown, or, during reading, if the text
            is bad.
        UnicodeDecodeError: During reading, in encodings other than UTF-8.
    """

    def __init__(self, path: str, encoding: str, sep: Optional[str]) -> None:
        self._path, self._encoding, self._sep = path, encoding, sep
        self._file = open(path, "rb")  # noqa: SIM115
        source: Any = self._file
        if path.lower().endswith(".gz"):
            source = gzip.GzipFile(fileobj=self._file)
        if encoding != "utf-8":
            try:
                source = io.TextIOWrapper(source, encoding, newline="")
            except LookupError as err:
                raise BadText(
                    f"'encoding' must be one that Python knows, such as "
                    f"'utf-8' or 'latin-1' (got {encoding!r})"
                ) from err
        self._source = source
        self._checked = memoryview(b"")  # Checked bytes, ready to be read,
        self._pending = b""  # and the bytes after them.
        self._num_breaks = 0  # Line breaks before those.
        self._is_open = True

    @property
    def position(self) -> int:
        """The position in the file, in bytes."""
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while self._is_open and not self._checked:
            self._read_block()
        size = min(len(buffer), len(self._checked))
        buffer[:size] = self._checked[:size]
        self._checked = self._checked[size:]
        return size

    def _read_block(self) -> None:
        """Checks whole lines, except for trailing line breaks."""
        block = self._source.read(BLOCK)
        self._is_open = len(block) > 0
        text = block if isinstance(block, bytes) else block.encode("utf-8")
        text = self._pending + text
        size = len(text)
        if self._is_open:
            # A "\r" at the end may be followed by "\n".
            size = max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1
        size = len(text[:size].rstrip(b"\r\n"))
        text, self._pending = text[:size], text[size:]
        if b"\0" in text:  # Strings may be cut off there.
            line = self._num_breaks + _count_breaks(text.partition(b"\0")[0])
            raise BadText(
                f"'{self._path}', line {line + 1} has a null character; if the "
                f"text is in UTF-16, prepare takes it with encoding='utf-16'"
            )
        if self._sep is not None and b'"' in text:
            self._check_quotes(text, self._sep)
        self._num_breaks += _count_breaks(text)
        self._checked = memoryview(text)

    def _check_quotes(self, text: bytes, sep: str) -> None:
        """Raises an error if a quotation mark that opens a field is not closed
        in its line: it would swallow all rows up to the next one.
        """
        lines = io.StringIO(text.decode("utf-8", "replace"), newline="")
        reader, last = csv.reader(lines, delimiter=sep, strict=True), 0
        try:
            for _ in reader:
                if reader.line_num > last + 1:
                    line = self._num_breaks + reader.line_num
                    raise csv.Error(f"a field up to line {line}")
                last = reader.line_num
        except csv.Error as err:
            raise BadText(
                f"'{self._path}', line {self._num_breaks + last + 1} must "
                f"close the quotation mark that opens a field, since rows must "
                f"be lines (got: {err}); in a field, write it twice, quote the "
                f"field, and leave out line breaks"
            ) from err


def _count_breaks(text: bytes) -> int:
    num_pairs = text.count(b"\r\n") if b"\r" in text else 0
    return text.count(b"\n") + text.count(b"\r") - num_pairs

from pathlib import Path

import pytest

from tmfun_pyg.datasets.id_files import read_ids


@pytest.mark.parametrize(
    "content", [b"a b\n7\n", b"a b\n7", b"\xef\xbb\xbfa b\r\n7\r\n"]
)
def test_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    assert read_ids(str(path)) == ["a b", "7"]


def test_separators_of_unicode(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("a\u2028b\n7\n", encoding="utf-8")
    assert read_ids(str(path)) == ["a\u2028b", "7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"ids\.txt' must have an id a line \(got an empty file\)"),
        (b"a\n\nb\n", r"line 2 must be an id.*\(got an empty line\)"),
        (b"a\nb\n\n", r"line 3 must be an id.*\(got an empty line\)"),
        (b"user_id\n1\n", r"line 1 must be an id \(got 'user_id'\); leave"),
        (b"a\n5\0\n", r"line 2 must .* null characters.* \(got '5\\x00'\)"),
        (b"a\nb \n", r"line 2 must be an id .* spaces.*\(got 'b '\)"),
        (b"\x00\x01\n", r"line 1 must be an id.*\(got '\\x00\\x01'\)"),
        (b"PK\x03\xff", r"ids\.txt' must be text in UTF-8"),
        (None, r"ids\.txt' must be a file \(got a folder\)"),
    ],
)
def test_bad_lines(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ids.txt"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_ids(str(path))

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tmfun_pyg.utils.files import atomic_folder, atomic_write, check_replaceable

FULL = OSError(errno.ENOSPC, "No space left on device", ".hidden.part")


def write(path: Path, content: str) -> None:
    with atomic_write(path) as part:
        assert part.parent == path.parent
        assert part.suffix == path.suffix
        part.write_text(content)
        # Until all of it is there, what was there stays:
        assert not path.exists() or path.read_text() != content


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for content in ("first", "second"):
        write(path, content)
        assert path.read_text() == content
        assert os.listdir(path.parent) == ["a.txt"]


def fail_while_writing(path: Path) -> None:
    with atomic_write(path) as part:
        part.write_text("half")
        raise RuntimeError("no")


def test_behind_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_file_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(RuntimeError, match="no"):
        fail_while_writing(path)
    assert os.listdir(tmp_path) == []
    path.write_text("old")
    with pytest.raises(RuntimeError, match="no"):
        fail_while_writing(path)
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for name in ("first", "second"):
        with atomic_folder(folder) as part:
            (part / name).write_text(name)
            assert not (folder / name).exists()
        assert os.listdir(folder) == [name]
        assert os.listdir(tmp_path) == ["a"]


def fail_in_folder(folder: Path) -> None:
    with atomic_folder(folder) as part:
        (part / "half").write_text("half")
        raise RuntimeError("no")


def test_folder_that_fails(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for path in (folder, tmp_path / "b" / "c" / "d"):
        with pytest.raises(RuntimeError, match="no"):
            fail_in_folder(path)
        assert os.listdir(tmp_path) == []
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(RuntimeError, match="no"):
        fail_in_folder(folder)
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(folder) == ["old"]


def test_old_folder_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "old").write_text("old")
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".part"):
            raise OSError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"), atomic_folder(folder) as part:
        (part / "new").write_text("new")
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(folder) == ["old"]


def test_check_replaceable(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "none", ["a.txt"], overwrite=False)
    check_replaceable(tmp_path, ["a.txt"], overwrite=False)  # It is empty.
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="already exists; pass overwrite"):
        check_replaceable(tmp_path, ["a.txt"], overwrite=False)
    check_replaceable(tmp_path, ["a.txt", "b.txt"], overwrite=True)
    with pytest.raises(ValueError, match=r"\(got \['a\.txt'\]\)"):
        check_replaceable(tmp_path, ["b.txt"], overwrite=True)
    # A file in place of the folder:
    with pytest.raises(ValueError, match=r"\(got \['a\.txt'\]\)"):
        check_replaceable(tmp_path / "a.txt", ["b.txt"], overwrite=True)


@pytest.mark.parametrize("manager", [atomic_write, atomic_folder])
@pytest.mark.parametrize("error", [FULL, RuntimeError("unexpected pos 7")])
def test_full_disk(
    tmp_path: Path, monkeypatch: Any, manager: Any, error: Exception
) -> None:
    """Says what cannot be written and why, even if the writer does not."""
    usage = SimpleNamespace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    path = tmp_path / "a"
    message = f"'{path}' cannot be written: No space left on device"
    with pytest.raises(OSError, match=f"^{message}$"), manager(path):
        raise error
    assert os.listdir(tmp_path) == []


def test_other_errors_stay(tmp_path: Path) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file", "b")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        raise missing


def test_names_what_was_asked_for(tmp_path: Path) -> None:
    """And no temporary file."""
    (tmp_path / "file").touch()
    long = "x" * 300
    for name, why in (("file/a.csv", "Not a dir"), (long, "File name too lo")):
        path = tmp_path / name
        message = f"^'{path}' cannot be written: {why}"
        with pytest.raises(OSError, match=message), atomic_write(path) as part:
            part.touch()
    assert os.listdir(tmp_path) == ["file"]

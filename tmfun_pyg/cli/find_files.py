"""Checks files and classes named by options before slow imports."""

from importlib.resources import files
from pathlib import Path
from typing import List

from tmfun_pyg.cli.class_paths import check_class_path, class_paths_of
from tmfun_pyg.cli.config_file import read_config

# Options whose value is a file or a folder to read.
READ = (
    *("--ckpt", "--users", "--history", "--log", "--root", "--data.root"),
    *("--run", "--items", "--exclude_items", "--candidates", "--pairs"),
)
ALL = (("--users", "all"), ("--items", "all"))  # Not files.
IDS = (("report", "--items"),)  # Options with ids instead of files.
CONFIG = ("-c", "--config")


def find_files(command: str, args: List[str]) -> List[str]:
    """Checks that files and classes exist, and replaces the name of a
    configuration that the package ships by its path.

    Args:
        command: The command.
        args: Its options as given.
    """
    folder = Path(str(files("tmfun_pyg.configs")))
    shipped = {path.stem: str(path) for path in folder.glob("*.yaml")}
    words = [part for word in args for part in _split(word)]
    for place, option in enumerate(words[:-1], start=1):
        name = words[place]
        if option in CONFIG and name in shipped:
            words[place] = shipped[name]
        elif option in CONFIG and not Path(name).exists():
            raise ValueError(
                f"--config must be an existing file or one of "
                f"{', '.join(sorted(shipped))} (got '{name}')"
            )
        elif option in CONFIG:
            for path in class_paths_of(read_config(Path(name))):
                check_class_path(path)
        elif option == "--model":
            check_class_path(name)
        if option == "--out" and name == "":
            raise ValueError("--out must be a file or folder (got '')")
        is_path = option in READ and (command, option) not in IDS
        is_path = is_path and (option, name) not in ALL
        if is_path and not Path(name).exists():
            raise ValueError(f"{option} must exist (got '{name}')")
    return words


def _split(word: str) -> List[str]:
    option, equals, value = word.partition("=")
    paths = (*READ, *CONFIG, "--out", "--model")
    return [option, value] if equals and option in paths else [word]

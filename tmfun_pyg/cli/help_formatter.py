import re
from argparse import Action
from typing import Any, List

from jsonargparse import DefaultHelpFormatter

PATH = re.compile(r"tmfun_pyg\.[\w.]*?(\w+)(?![\w.])")
BASE = re.compile(r"\b(?!RankingModel\.)[A-Z]\w*Model, ")
ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?([^`]+)`")
DEFAULT = re.compile(r" ?\(default: [^()]*\)(?= *\(type)")


class HelpFormatter(DefaultHelpFormatter):
    """Formats docstrings as plain text, and omits the trainer's options."""

    def add_argument(self, action: Action) -> None:
        """Adds an option."""
        if not any("--trainer" in x for x in action.option_strings):
            super().add_argument(action)

    def start_section(self, heading: Any) -> None:
        """Adds a group of options."""
        super().start_section(_plain(str(heading)))

    def _split_lines(self, text: str, width: int) -> List[str]:
        return super()._split_lines(_plain(text), width)


def _plain(text: str) -> str:
    text = ROLE.sub(r"\1", " ".join(text.split()))
    text = BASE.sub("", PATH.sub(r"\1", text))
    return DEFAULT.sub("", text).replace('"', "'")

"""Rewords messages of the package for a command."""

import inspect
import re
import sys
from typing import Dict

from tmfun_pyg.cli.commands import TRAINING, module_of

# Arguments that are options with the same name.
OF_TRAINING = r"(?:loader|trainer)\.\w+|lr|patience|seed_everything|budget|"
OF_TRAINING += r"data\.(?:root|name|modalities|zero_rows|half|k|recall)"


def in_options(text: str, command: str) -> str:
    """Replaces Python arguments by the options of a command."""
    data = "--data." if command in TRAINING else "--"
    if command not in ("prepare", *TRAINING):  # Others lack the option.
        option = "pass zero_rows='mask'"
        text = re.sub(f"; {option}.*| and {option}", "", text)
    for argument, option in (
        ("overwrite=True", "--overwrite"),
        ("zero_rows='mask'", f"{data}zero_rows mask"),
        ("modalities=[]", f"{data}modalities []"),
        ("give 'dataset'", "pass --root"),
        ("give its class as 'model_cls'", "load it in Python"),
    ):
        text = text.replace(argument, option)
    if command in TRAINING:
        text = re.sub(rf"'({OF_TRAINING})'(?= must| is )", r"--\1", text)
    names = _options_of(command)
    # The part after "(got" is left alone: values may have any name.
    said, got, found = text.partition(" (got ")
    said = re.sub(
        r"(?<!column )(?<!modality )'([a-z_]+)'",
        lambda match: names.get(match[1], match[0]),
        said,
    )
    if said.startswith("the ") and text.startswith("'"):
        said = f"T{said[1:]}"
    text = f"{said}{got}{found}"
    # After a bracket, it is an argument of Lightning.
    return re.sub(r"(?<!\()\b([a-z_]+)=('([^' ]+)'|\.\.\.)", _as_option, text)


def _options_of(command: str) -> Dict[str, str]:
    """Returns the names of Python arguments in a command."""
    module = sys.modules.get(module_of(command))
    if module is None:  # The error came before its import.
        return {}
    asked = inspect.signature(getattr(module, command)).parameters
    names = {name: f"--{name}" for name in asked}
    if "recommender" in asked:
        names |= {"model": "the model", "dataset": "the data set"}
    return {**names, **getattr(module, "ARGUMENTS", {})}


def _as_option(match: "re.Match[str]") -> str:
    return f"--{match[1]} {match[3] or match[2]}"

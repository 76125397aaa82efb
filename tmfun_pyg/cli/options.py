"""Parses options, with one-line errors."""

import inspect
import re
from argparse import ArgumentError
from difflib import get_close_matches
from pkgutil import resolve_name
from typing import Iterable, List, Optional

from jsonargparse import ArgumentParser, Namespace

import tmfun_pyg.baselines
import tmfun_pyg.nn
from tmfun_pyg.cli.commands import NAMED_BY_USERS


class OptionError(ValueError):
    """Invalid options."""


def parse_options(parser: ArgumentParser, words: List[str]) -> Namespace:
    """Parses options.

    Args:
        parser: A parser with ``exit_on_error=False``.
        words: The options as given.

    Raises:
        OptionError: If they are invalid.
    """
    given = [word.partition("=")[0] for word in words]
    prefixes = tuple(f"--{x}." for x in NAMED_BY_USERS)
    for option in given:
        if option.startswith(prefixes) and given.count(option) > 1:
            raise OptionError(f"{option} must be given once")
    try:
        return parser.parse_args(_with_lists(parser, words))
    except ArgumentError as err:
        raise OptionError(_tell(str(err), parser)) from err


def why_not_made(text: str) -> Optional[str]:
    """Returns in one line why the object named by an option was not created,
    such as a logger whose package is not installed.

    Args:
        text: The error, which lists all types that the option may have.
    """
    for path, reason in re.findall(
        r"\n  - (?:Problem with given class_path '(\S+)':\s+)?(.+)", text
    ):
        if path:
            return f"{path}: {reason}"
        if not reason.startswith(("Expected a", "Not a valid subclass")):
            return str(reason)
    return None


def _with_lists(parser: ArgumentParser, words: List[str]) -> List[str]:
    """Converts 0.7,0.2,0.1 to a list for options that expect one."""
    lists = {
        option
        for option, action in parser._option_string_actions.items()
        if re.search(r"(List|Tuple)\[", str(getattr(action, "_typehint", "")))
    }
    out = list(words)
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if not equals and place > 0:
            option, value = words[place - 1], word
        if option in lists and re.match(r"[^\[(].*,", value):
            out[place] = f"{option}=[{value}]" if equals else f"[{value}]"
    return out


def _tell(text: str, parser: ArgumentParser) -> str:
    unknown = re.match(r"unrecognized arguments: (\S+)", text)
    in_file = re.match(r"Option '(\S+)' is not", text)
    if found := unknown or in_file:
        option = found[1] if unknown else f"--{found[1]}"
        # argparse has no public list of options.
        return _misspelt(option, parser._option_string_actions, parser.prog)
    if needs := re.match(r"argument (\S+): expected", text):
        return f"{needs[1].split('/')[-1]} must come with a value"
    if missing := re.search(
        r'arguments are required: (.+)|Key "(\S+)" is', text
    ):
        names = re.findall(r"[^\s,]+", missing[1] or missing[2])
        return f"{', '.join(f'--{x}' for x in names)} must be given"
    if of_group := re.match(r"Group '(\S+)' does not accept \D+'(\S+)'", text):
        option = f"--{of_group[1]}.{of_group[2]}"
        return _misspelt(option, parser._option_string_actions, parser.prog)
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', text))
    of_model = re.search(r"given class_path '([^']+)'", text)
    if of_model and "has no attribute" not in text:
        option = re.search(r"Option '(\S+)' is not accepted", text)
        if option:
            cls = resolve_name(of_model[1])
            known = (f"--{keys}.{x}" for x in inspect.signature(cls).parameters)
            return _misspelt(f"--{keys}.{option[1]}", known, cls.__name__)
    elif keys == "model":
        got = re.search(r"Given value: (.*)", text)
        return no_model(got[1] if got else "")
    union = re.search(
        r"(?s).*Subtypes: \[(.*)\]\s+Errors:.*?Given value: ([^\n]*)", text
    )
    wrong = re.search(r"Expected an? (.+?)\. Got value: (.*)", text)
    has_words = union is not None and "Literal[" in union[1]
    if wrong and not has_words:
        expected = re.sub(r"<class '(\w+)'>|typing\.", r"\1", wrong[1])
        if choices := re.fullmatch(r"Literal\[(.*)\]", expected):
            expected = f"one of {choices[1]}"
        elif expected == "tuple":
            expected = "several values with commas between them"
        else:
            expected = f"of type {expected}"
        return f"--{keys} must be {expected} (got '{wrong[2]}')"
    # For an option of a model, the inner one: its value is reported first.
    if union:
        return f"--{keys} must be {_any_of(union[1], keys)} (got '{union[2]}')"
    return " ".join(text.split())


def _any_of(kinds: str, keys: str) -> str:
    """Describes the values that several types accept, in words."""
    if "Dict[" in kinds:
        return f"given by name, as --{keys}.NAME VALUE"
    literal = r"Literal\[([^\]]*)\]"
    names = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", kinds)
    values = re.findall(r"[^,\s']+", ", ".join(re.findall(literal, names)))
    types = set(re.sub(literal, "NoneType", names).split(", ")) - {"NoneType"}
    if values and "bool" in types:
        types.remove("bool")
        values = ["true", "false", *values]
    values = list(dict.fromkeys(values))
    few = "one of " if len(values) > 1 else ""
    words = [f"{few}{', '.join(values)}"] if values else []
    # Sorted, since Python caches a Union with the order that came first.
    words += [f"of type {' or '.join(sorted(types))}"] if types else []
    return ", or ".join(words)


def no_model(got: str) -> str:
    """Returns the error for a name that is not a model.

    Args:
        got: The name.
    """
    near = get_close_matches(got, model_names(), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return (
        f"--model must be one of {', '.join(model_names())}, or the path of a "
        f"class of your own (got '{got}'){hint}"
    )


def model_names() -> List[str]:
    """Returns the names of all models of this package."""
    base = tmfun_pyg.nn.RankingModel
    found = []
    for module in (tmfun_pyg.nn, tmfun_pyg.baselines):
        for name in module.__all__:
            cls = getattr(module, name)
            if isinstance(cls, type) and issubclass(cls, base):
                # Base classes are left out.
                found += [] if name.endswith("Model") else [name]
    return found


def _misspelt(option: str, known: Iterable[str], of: str) -> str:
    near = get_close_matches(option, known, n=1, cutoff=0.7)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"'{option}' is not an option of {of}{hint}"

"""The page and its figures."""

import math
import re
from typing import Any, Callable, Dict

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from tmfun_pyg.report.figures import render
from tmfun_pyg.report.text import number, printable, title_of


class Page:
    r"""A page with its figures.

    Attributes:
        pictures (Dict[str, bytes]): The figures of the page as PNG, by name.
    """

    def __init__(self) -> None:
        self.pictures: Dict[str, bytes] = {}

    def draw(
        self, title: str, plot: Callable[..., Figure], *args: Any
    ) -> Dict[str, str]:
        r"""Draws a figure, whose file is named after its title, and returns
        the :obj:`title` and, as a data URI, the :obj:`source`.

        Args:
            title (str): The title.
            plot (callable): One of the functions of
                :mod:`tmfun_pyg.report.figures`.
            *args (optional): Its arguments after the title.
        """
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        while name in self.pictures:
            name += "-"
        source, self.pictures[name] = render(plot, title, *args)
        return {"title": title, "source": source}

    def html(self, **content: Any) -> str:
        r"""Returns the page.

        Args:
            **content (optional): The variables of the template.
        """
        env = Environment(
            loader=PackageLoader("tmfun_pyg", "report"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=lambda x: x if isinstance(x, Markup) else printable(x),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        env.tests["finite"] = math.isfinite
        env.filters.update(number=number, title_of=title_of)
        return env.get_template("page.html.jinja").render(content)

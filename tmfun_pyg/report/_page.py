"""One page of HTML that needs nothing else."""

import re
from typing import Callable, Dict, List, NamedTuple, Sequence

from tmfun_pyg.report import _draw
from tmfun_pyg.report._draw import Figure
from tmfun_pyg.report._text import escape

CSS = """
:root { color-scheme: light dark; --page: #ffffff; --raised: #f5f7f9;
  LIGHT }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --raised: #1d2127;
    DARK }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif; }
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--series-0); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .8rem 0;
  padding: 0; list-style: none; }
.muted, figcaption { color: var(--muted); font-size: .875rem; }
.figures { display: grid; gap: 1.5rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
figure { margin: .6rem 0; max-width: 32rem; }
figure.wide { max-width: none; margin: 1.1rem 0; }
figcaption { margin-top: .2rem; max-width: 46rem; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: inherit !important; }
.table { overflow-x: auto; max-width: max-content; }
table { border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--grid); }
thead th { border-bottom: 2px solid var(--grid); white-space: nowrap; }
tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
.text { overflow-wrap: anywhere; min-width: 6rem; }
details { margin: .6rem 0; background: var(--raised); border-radius: .4rem;
  padding: .5rem .9rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-bottom: 2rem; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{lead}
<nav aria-label="Sections"><ul>
{contents}
</ul></nav>
</header>
<main>
{sections}
</main>
<footer class="muted">{foot}</footer>
</body>
</html>
"""


class Cell(NamedTuple):
    r"""A cell of a table.

    Args:
        text (str): What it says.
        is_best (bool, optional): Whether it stands out.
            (default: :obj:`False`)
    """

    text: str
    is_best: bool = False


class Page:
    r"""A page, and the pictures on it.

    Attributes:
        pictures (Dict[str, bytes]): The figures of the page as PNG, by name.
    """

    def __init__(self) -> None:
        self.pictures: Dict[str, bytes] = {}
        self._sections: List[str] = []
        self._contents: List[str] = []

    def section(self, name: str, title: str, parts: Sequence[str]) -> None:
        r"""Adds a section.

        Args:
            name (str): Its id.
            title (str): Its title.
            parts (Sequence[str]): What it holds, as HTML.
        """
        self._sections.append(
            f'<section id="{name}">\n<h2>{escape(title)}</h2>\n'
            + "\n".join(parts)
            + "\n</section>"
        )
        self._contents.append(
            f'<li><a href="#{name}">{escape(title)}</a></li>'
        )

    def figure(
        self,
        name: str,
        alt: str,
        caption: str,
        draw: Callable[..., Figure],
        *args: object,
        **kwargs: object,
    ) -> str:
        r"""Draws a figure.

        Args:
            name (str): What its file is to be named after.
            alt (str): What it shows, for those who cannot see it.
            caption (str): How to read it.
            draw (callable): What draws it.
            *args (optional): Arguments of :obj:`draw`.
            **kwargs (optional): Arguments of :obj:`draw`.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        unique, place = slug, 2
        while unique in self.pictures:
            unique, place = f"{slug}-{place}", place + 1
        with _draw.style():
            svg, png = _draw.render(draw(*args, **kwargs), unique, alt)
        self.pictures[unique] = png
        return (
            f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n"
            f"</figure>"
        )

    def html(self, title: str, lead: Sequence[str], foot: str) -> str:
        r"""Returns the whole page.

        Args:
            title (str): Its title.
            lead (Sequence[str]): What it begins with, as HTML.
            foot (str): What it ends with.
        """
        light, dark = (
            " ".join(
                f"--{name}: {pair[place]};"
                for name, pair in _draw.VARIABLES.items()
            )
            for place in range(2)
        )
        return PAGE.format(
            title=escape(title),
            css=CSS.replace("LIGHT", light).replace("DARK", dark),
            lead="\n".join(lead),
            contents="\n".join(self._contents),
            sections="\n".join(self._sections),
            foot=escape(foot),
        )


def paragraph(text: str) -> str:
    r"""Returns a paragraph."""
    return f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    r"""Returns the title of a part of a section."""
    return f"<h3>{escape(text)}</h3>"


def side_by_side(figures: Sequence[str]) -> str:
    r"""Puts figures beside each other where there is room."""
    return '<div class="figures">\n' + "\n".join(figures) + "\n</div>"


def details(summary: str, content: str) -> str:
    r"""Returns content that is folded away at first."""
    return (
        f"<details>\n<summary>{escape(summary)}</summary>\n{content}\n"
        f"</details>"
    )


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    caption: str,
    num_text: int = 1,
) -> str:
    r"""Returns a table.

    Args:
        header (Sequence[str]): The names of the columns.
        rows (Sequence[Sequence[Cell]]): The cells, row by row.
        caption (str): What the table holds.
        num_text (int, optional): The number of columns of text, the first
            ones. The others hold numbers. (default: :obj:`1`)
    """
    kinds = ["text" if i < num_text else "number" for i in range(len(header))]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>'
        for name, kind in zip(header, kinds, strict=True)
    )
    lines = []
    for row in rows:
        cells = []
        for place, (cell, kind) in enumerate(zip(row, kinds, strict=True)):
            tag = 'th scope="row"' if place == 0 else "td"
            text = escape(cell.text)
            text = f"<strong>{text}</strong>" if cell.is_best else text
            cells.append(f'<{tag} class="{kind}">{text}</{tag[:2]}>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    # Wide tables scroll, also by keyboard.
    return (
        f'<figure class="wide">\n'
        f"<figcaption>{escape(caption)}</figcaption>\n"
        f'<div class="table" tabindex="0">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>\n</div>\n</figure>"
    )

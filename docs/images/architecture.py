"""Draws TMFUN's architecture into architecture.svg, beside this file.

python docs/images/architecture.py
"""

from pathlib import Path

WIDTH, HEIGHT = 1350, 500
INPUT, BRANCH, FUSION, LOSS = "#e8edf3", "#dcebfa", "#fde9cf", "#e3f3e1"
HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg"
 viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, sans-serif"
 font-size="17" fill="#1c2733">
<title>Architecture of TMFUN</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"
 markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#4a5a6a"/>
</marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff"/>"""


def box(
    x: int,
    y: int,
    width: int,
    color: str,
    title: str,
    formula: str,
    deep: int = 0,
) -> str:
    """A box of two lines; `deep` puts as many behind it."""
    parts = [
        f'<rect x="{x + 6 * i}" y="{y - 6 * i}" width="{width}" height="64" '
        f'rx="8" fill="{color}" stroke="#4a5a6a"/>'
        for i in range(deep, -1, -1)
    ]
    middle = x + width / 2
    return "\n".join(
        [
            *parts,
            text(middle, y + 27, title, 'font-weight="bold"'),
            text(middle, y + 50, formula, 'font-size="16"'),
        ]
    )


def text(x: float, y: float, words: str, style: str = "") -> str:
    """Centred words."""
    return f'<text x="{x}" y="{y}" text-anchor="middle" {style}>{words}</text>'


def arrow(points: str, style: str = 'marker-end="url(#tip)"') -> str:
    """A line through points, `x,y x,y ...`, with a tip unless styled."""
    return (
        f'<polyline points="{points}" fill="none" stroke="#4a5a6a" '
        f'stroke-width="1.6" {style}/>'
    )


def sub(base: str, index: str) -> str:
    """A letter with an index."""
    return (
        f'{base}<tspan dy="4" font-size="12">{index}</tspan>'
        f'<tspan dy="-4">&#8203;</tspan>'
    )


QUERY = 'stroke-dasharray="6 4" marker-end="url(#tip)"'
XC = 'X<tspan dy="-6" font-size="12">c</tspan><tspan dy="6">&#8203;</tspan>'
XM, SM, HM, EI = sub("X", "m"), sub("S", "m"), sub("H", "m"), sub("E", "I")

parts = [
    HEAD,
    # Lines first, so that boxes lie on them.
    arrow("190,62 240,62"),
    arrow("190,162 215,162 215,80 240,80"),
    arrow("215,162 215,246 240,246"),
    arrow("215,246 215,406 480,406"),
    arrow("190,268 240,268"),
    arrow("107,294 107,344"),
    arrow("190,376 480,376"),
    arrow("462,376 462,274 480,274"),
    arrow("450,256 480,256"),
    arrow("450,62 1086,62"),
    arrow("775,62 775,230", QUERY),
    arrow("970,62 970,230", QUERY),
    arrow("662,262 700,262"),
    arrow("684,262 684,326 945,326 945,294"),
    arrow("850,262 884,262"),
    arrow("650,391 995,391 995,294"),
    arrow("1056,262 1150,262"),
    arrow("1100,262 1100,76"),
    arrow("1114,62 1150,62"),
    arrow("1130,62 1130,142 1150,142"),
    '<circle cx="1100" cy="62" r="14" fill="#ffffff" stroke="#4a5a6a"/>',
    text(1100, 68, "+", 'font-size="20"'),
    box(24, 30, 166, INPUT, "User-item graph", "A"),
    box(24, 130, 166, INPUT, "ID embeddings", "E"),
    box(24, 230, 166, INPUT, "Item features", XM, 1),
    box(24, 350, 166, INPUT, "Feature graphs", f"{SM}: k nearest", 1),
    box(
        240,
        30,
        210,
        BRANCH,
        "Collaborative branch",
        "mean of L LightGCN layers",
    ),
    box(
        240, 230, 210, BRANCH, "Behavior gates", f"{EI} ⊙ &#963;(MLP({XM}))", 1
    ),
    box(
        480,
        230,
        176,
        BRANCH,
        "On modality graphs",
        f"{HM} = {SM} · gated IDs",
        1,
    ),
    box(
        480,
        359,
        176,
        BRANCH,
        "Item feature graph",
        f"H = Σ {sub('β', 'm')} {SM} {EI}",
    ),
    box(700, 230, 150, FUSION, "Early step", "attention"),
    box(884, 230, 172, FUSION, "Later steps", "gates in turn, times w"),
    box(1150, 30, 176, LOSS, "BPR", "X ranks items"),
    box(1150, 110, 176, LOSS, "Contrast", "user ↔ item of theirs"),
    box(1150, 230, 176, LOSS, "Contrast", f"Z ↔ {XC}"),
    text(600, 52, XC),
    text(1131, 52, "X"),
    text(802, 150, "query"),
    text(997, 150, "query"),
    text(867, 252, "Z⁽⁰⁾", 'font-size="15"'),
    text(1080, 252, "Z"),
    text(815, 319, f"every {HM}"),
    text(825, 384, "H"),
    text(
        WIDTH / 2,
        466,
        f"Users have the mean of their items in {HM} and H, and go through "
        "the same attention and gates. Cold items have no ID embedding, only "
        "content.",
        'font-size="16"',
    ),
    "</svg>\n",
]
Path(__file__).with_suffix(".svg").write_text("\n".join(parts), "utf-8")

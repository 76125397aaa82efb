"""Makes the page of results in the documentation from finished runs.

    python benchmarks/results_page.py

From the files <data>/<model>/seed_<n>.json of accuracy.py in --runs it writes
results.md and images/results-<data>.svg in --out. The reference is compared to
models of other classes: its own variants have separate tables. If all runs
have files <data>/<model>/seed_<n>.npz, with the metrics of every user, it adds
paired tests.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List

from _chart import draw
from _errors import run_script
from _paired import METRICS, compare_all, has_users
from _report import Row, mean_std, model_table
from _summary import (
    PROTOCOL,
    TITLES,
    Grid,
    Report,
    compare_sets,
    grid_table,
    read_ranked,
    sizes_of,
)

from tmfun_pyg.utils.files import atomic_write

LEVEL = 0.05  # The p from which on a difference is not significant.
FOLDER = Path(__file__).parent
HEAD = [
    "# Results",
    "",
    "Made by `python benchmarks/results_page.py` from the runs in "
    "`benchmarks/results`, each a file with its commit, options, hashes and "
    f"command. {PROTOCOL} **A value without a deviation is of one seed, which "
    "for a trained model is a hint and no result.** How runs are made, and "
    "what else was measured: [benchmarks](../benchmarks/README.md).",
    "",
]


def main() -> None:
    """Writes the page and its charts."""
    parser = argparse.ArgumentParser(
        description="Makes the page of results.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=Path, default=FOLDER / "results", help="finished runs")
    add("--out", type=Path, default=FOLDER.parent / "docs", help="of the page")
    add("--reference", default="TMFUN", help="is compared with all others")
    args = parser.parse_args()
    if find_spec("matplotlib") is None:
        parser.error('charts need matplotlib: pip install "tmfun-pyg[plot]"')
    folders = sorted({p.parents[1] for p in args.runs.glob("*/*/seed_*.json")})
    if len(folders) == 0:
        parser.error(f"--runs must hold finished runs (got '{args.runs}')")
    found = {folder.name: read_ranked(folder) for folder in folders}
    reports, variants = [], {}
    for data, rows in found.items():
        own = [row for row in rows if row["model"] == args.reference]
        beside = {row["label"] for row in own} - {args.reference}
        peers = [row for row in rows if row["label"] not in beside]
        paired = {}
        if all(has_users(args.runs / data, row) for row in peers):
            paired = compare_all(args.runs / data, peers, args.reference)
        reports.append(Report(data, peers, paired))
        if beside:
            variants[data] = own
    lines = [*HEAD, where_it_does_not_win(reports, args.reference), ""]
    lines += compare_sets(reports)[0]
    for data, rows, _ in reports:
        chart = f"images/results-{data}.svg"
        draw(args.out / chart, rows, args.reference)
        lines += ["", f"## {data}", "", f"{sizes_of(rows)} {trials_of(rows)}"]
        lines += ["", f"![Recall@20 and NDCG@20 on {data}]({chart})", ""]
        lines += model_table(rows)
    lines += variant_lines(variants, args.reference)
    lines += place_lines(found)
    with atomic_write(args.out / "results.md") as part:
        part.write_text("\n".join([*lines, ""]), encoding="utf-8")


def where_it_does_not_win(reports: List[Report], reference: str) -> str:
    """Returns a sentence on the models that tie or win."""
    parts = []
    for metric, title in TITLES.items():
        places = []
        for data, rows, _ in reports:
            values = {r["label"]: r["metrics"][title]["mean"] for r in rows}
            own = values.pop(reference, None)
            if own is None:
                places.append(f"{data} (not run)")
                continue
            ahead = {k: v for k, v in values.items() if v >= own}
            order = sorted(ahead, key=ahead.__getitem__, reverse=True)
            shown = ", ".join(f"{ahead[k]:.4f} of {k}" for k in order)
            if shown:
                places.append(f"{data} ({own:.4f} against {shown})")
        where = f"on {', '.join(places)}" if places else "nowhere"
        parts.append(f"in {metric} {where}")
    shown = "; ".join(parts)
    found = f"**Where {reference} does not win**, of these models: {shown}."
    level = [
        f"{name} on {data} against {label} ({test[key]['p_holm']:.2f})"
        for data, _, paired in reports
        for label, test in paired.get("tests", {}).items()
        for key, name in zip(METRICS, TITLES, strict=True)
        if test[key]["mean"] > 0 and test[key]["p_holm"] >= LEVEL
    ]
    if level:
        found += f" Ahead, but with p of {LEVEL} or more: {', '.join(level)}."
    return found


def trials_of(rows: List[Row]) -> str:
    """Returns a sentence on the search for each model's options."""
    labels: Dict[int, List[str]] = {}
    for row in rows:
        trials = row["search"].get("trials", 0)
        labels.setdefault(trials, []).append(row["label"])
    parts = [f"{n} for {', '.join(labels[n])}" for n in sorted(labels)]
    shown = "; ".join(parts)
    return (
        f"Trials in the search for options, at most (0: none, so the defaults "
        f"or what the command of the run sets): {shown}."
    )


def variant_lines(variants: Dict[str, List[Row]], reference: str) -> List[str]:
    """Returns a section on the variants of a model, if there are any."""
    if len(variants) == 0:
        return []
    lines = ["", f"## Variants of {reference}", ""]
    lines.append("In brackets the number of seeds.")
    for metric, title in TITLES.items():
        cells: Grid = {}
        for data, own in variants.items():
            for row in own:
                value = mean_std(row["metrics"][title])
                shown = f"{value} ({len(row['seeds'])})"
                cells.setdefault(row["label"], {})[data] = shown
        lines += ["", f"{metric}:", "", *grid_table(list(variants), cells)]
    return lines


def place_lines(found: Dict[str, List[Row]]) -> List[str]:
    """Returns a section on the machines of the runs."""
    rows = [row for own in found.values() for row in own]
    hardware = [kind for row in rows for kind in row["hardware"]]
    versions = [kind for row in rows for kind in row["versions"]]
    parts = {
        "GPU": [kind["gpu"] for kind in hardware if "gpu" in kind],
        "CPU": [
            f"{kind['cpu']} ({kind['cores']} cores)"
            for kind in hardware
            if "gpu" not in kind
        ],
        "torch": [kind["torch"] for kind in versions],
        "torch_geometric": [kind["torch_geometric"] for kind in versions],
    }
    shown = [
        f"{name}: {' or '.join(sorted(set(kinds)))}"
        for name, kinds in parts.items()
        if kinds
    ]
    cells: Grid = {label: {} for label in sorted(row["label"] for row in rows)}
    for data, own in found.items():
        for row in own:
            cells[row["label"]][data] = ", ".join(row["places"])
    return [
        "",
        "## Where the runs were made",
        "",
        "Each commit is listed once, in the order of the seeds; runs were on a "
        f"CPU unless marked (GPU). {'; '.join(shown)}. The command is in the "
        "file of each run.",
        "",
        *grid_table(list(found), cells),
    ]


if __name__ == "__main__":
    run_script(main)

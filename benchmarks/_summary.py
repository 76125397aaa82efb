"""The comparison over several data sets."""

from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any, Callable, Dict, List, NamedTuple, Set, Tuple

from _options import is_simple
from _paired import METRICS
from _report import Row, mean_std, read_rows, table, write_both

VALIDATION = "validation R@20"
METRICS_OF_RUNS = {
    VALIDATION: ("val", "recall@20"),
    **{f"test R@{k}": ("test", f"recall@{k}") for k in (10, 20, 50)},
    **{f"test N@{k}": ("test", f"ndcg@{k}") for k in (10, 20, 50)},
}
TITLES = {"Recall@20": "test R@20", "NDCG@20": "test N@20"}
PROTOCOL = (
    "Mean ± standard deviation over seeds; all items but those of training are "
    "ranked. Hyper-parameters and epochs were chosen on validation, the test "
    "split was read once in each run."
)
Grid = Dict[str, Dict[str, Any]]  # By label and data set.


class Report(NamedTuple):
    """The results on a data set."""

    data: str
    rows: List[Row]
    paired: Dict[str, Any]


def read_ranked(out: Path) -> List[Row]:
    """Returns the models in a folder, the worst on validation first."""
    rows = read_rows(out, METRICS_OF_RUNS)
    return sorted(rows, key=lambda row: row["metrics"][VALIDATION]["mean"])


def sizes_of(rows: List[Row]) -> str:
    """Returns a sentence on the data set of the rows."""
    data = rows[0]["data"]
    return (
        f"{data['users']:,} users, {data['items']:,} items, {data['train']:,} "
        f"/ {data['val']:,} / {data['test']:,} interactions for training / "
        f"validation / test."
    )


def report_all(out: Path, reports: List[Report]) -> None:
    """Writes the comparison over all data sets."""
    if len(reports) == 0:
        raise ValueError(f"'{out}' must hold finished runs (got none)")
    names = [report.data for report in reports]
    lines, content = compare_sets(reports)
    lines = [f"# Accuracy on {', '.join(names)}", "", *lines]
    write_both(out / "results", lines, content)


def compare_sets(reports: List[Report]) -> Tuple[List[str], Dict[str, Any]]:
    """Returns the comparison over all data sets, as lines and as content."""
    names = [report.data for report in reports]
    rows: Grid = {}
    simple = set()
    for report in reports:
        for row in report.rows:
            rows.setdefault(row["label"], {})[report.data] = row
            if is_simple(row["model"]):
                simple.add(row["label"])
    lines = [
        "Test split, mean ± standard deviation over seeds. Ranks and ratios "
        "are averaged over the data sets, for the models with runs on all of "
        "them. A ratio is to the simple method (`tmfun_pyg.baselines`) that "
        "is the best on the test split of the data set; their average is "
        "geometric."
    ]
    content: Dict[str, Any] = {"data": names}
    for metric, title in TITLES.items():
        found = _map(rows, lambda row, key=title: row["metrics"][key])
        means = _map(found, lambda value: value["mean"])
        ranks, ratios = mean_ranks(means), ratios_to_best(means, simple)
        shown = _map(found, mean_std)
        for key, column in (("mean rank", ranks), ("x best simple", ratios)):
            for label, value in column.items():
                shown[label][key] = f"{value:.2f}"
        # Worst first, as in the table of a data set.
        order = sorted(shown, key=lambda x: (x in ranks, -ranks.get(x, 0.0)))
        shown = {label: shown[label] for label in order}
        lines += ["", f"## {metric}", ""]
        lines += grid_table([*names, "mean rank", "x best simple"], shown)
        content[metric] = {
            "values": found,
            "mean_rank": ranks,
            "ratio_to_best_simple": ratios,
        }
    content["paired"] = {report.data: report.paired for report in reports}
    lines += _paired_lines(content["paired"])
    content["seconds_to_best"] = _map(rows, lambda row: row["to_best"])
    lines += [
        "",
        "## Seconds to the best epoch",
        "",
        "The seconds of a run, times the share of its epochs up to the one "
        "whose weights are kept; those of the fit for closed forms. On the "
        "CPU unless marked (GPU), where that of the first seed counts. Other "
        "work may have run at the same time.",
        "",
        *grid_table(names, _map(rows, _seconds)),
    ]
    return lines, content


def _seconds(row: Row) -> str:
    is_on_gpu = "gpu" in row["hardware"][0]
    return f"{row['to_best']:.0f}{' (GPU)' if is_on_gpu else ''}"


def mean_ranks(values: Grid) -> Dict[str, float]:
    """Returns the mean rank of each model with a value on every data set.
    Equal values share the mean of their ranks.
    """
    ranks, values = {}, _complete(values)
    for label, own in values.items():
        each = []
        for name, value in own.items():
            others = [other[name] for other in values.values()]
            larger = sum(other > value for other in others)
            each.append(larger + (others.count(value) + 1) / 2)
        ranks[label] = mean(each)
    return ranks


def ratios_to_best(values: Grid, simple: Set[str]) -> Dict[str, float]:
    """Returns the geometric mean, over all data sets, of the ratio of each
    model to the best simple one there.
    """
    best: Dict[str, float] = {}
    for label in simple:
        for name, value in values[label].items():
            best[name] = max(value, best.get(name, 0.0))
    ratios = {}
    for label, own in _complete(values).items():
        each = [value / (best.get(name) or 1.0) for name, value in own.items()]
        if set(own) == set(best) and all(each):
            ratios[label] = geometric_mean(each)
    return ratios


def _complete(values: Grid) -> Grid:
    names = {name for own in values.values() for name in own}
    return {label: own for label, own in values.items() if names == set(own)}


def _map(values: Grid, function: Callable[[Any], Any]) -> Grid:
    return {
        label: {name: function(value) for name, value in own.items()}
        for label, own in values.items()
    }


def grid_table(head: List[str], cells: Grid) -> List[str]:
    """Returns the lines of a table of cells by label and column."""
    body = [
        [label, *(own.get(name, "") for name in head)]
        for label, own in cells.items()
    ]
    return table(["model", *head], body)


def _paired_lines(paired: Dict[str, Dict[str, Any]]) -> List[str]:
    tests: Grid = {}
    for name, found in paired.items():
        for label, test in found.get("tests", {}).items():
            tests.setdefault(label, {})[name] = test
    if len(tests) == 0:
        return []
    (reference,) = {own["reference"] for own in paired.values() if own}
    lines = [
        "",
        f"## {reference} against the others",
        "",
        "Mean difference over test users, in brackets p of the paired "
        "bootstrap, corrected by Holm's method for all comparisons on the "
        "data set.",
    ]
    for metric, key in zip(TITLES, METRICS, strict=True):
        results = _map(tests, lambda test, key=key: test[key])
        shown = _map(results, lambda x: f"{x['mean']:+.4f} ({x['p_holm']:.4f})")
        lines += ["", f"{metric}:", "", *grid_table(list(paired), shown)]
    return lines

"""Reading run folders."""

import csv
import json
import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

MONITOR = "val_recall@20"
LOG, METRICS = "metrics.csv", "metrics.json"
BEST, LAST = "best.ckpt", "last.ckpt"
CONFIGS = ("config.yaml", "hparams.yaml")
SPLITS = {"val": "validation", "test": "test"}

Metrics = Dict[str, float]
Splits = Dict[str, Metrics]


@dataclass(frozen=True)
class Run:
    r"""A training run.

    Args:
        path (Path): Its folder.
        name (str): The name it shares with runs of other seeds.
        seed (int, optional): The seed, if the folder is named after it.
        curves (Dict[str, Dict[int, float]]): The values of each column of
            :obj:`metrics.csv` by epoch.
        written (Dict[str, Dict[str, float]]): The metrics by split that
            training has written.
    """

    path: Path
    name: str
    seed: Optional[int]
    curves: Dict[str, Dict[int, float]]
    written: Splits

    def line(self, column: str) -> Tuple[Dict[int, float], Optional[int]]:
        r"""Returns the values of a column by epoch, and the best epoch.

        Args:
            column (str): The name of the column.
        """
        return self.curves.get(column, {}), self.best_epoch

    @property
    def label(self) -> str:
        r"""The name, with the seed if there is one."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return self.name + seed

    @property
    def last_epoch(self) -> Optional[int]:
        r"""The last epoch that was logged, if any."""
        return max(map(max, self.curves.values()), default=None)

    @property
    def best_epoch(self) -> Optional[int]:
        r"""The first epoch with the highest validation Recall@20, if it was
        logged: the one whose weights are in :obj:`best.ckpt`.
        """
        curve = self.curves.get(MONITOR, {})
        known = [epoch for epoch in curve if not math.isnan(curve[epoch])]
        return max(known, key=curve.__getitem__, default=None)

    def metrics(self, split: str) -> Metrics:
        r"""Returns the metrics of the best epoch (the last ones if there is
        no best) if they were logged, as in validation, or else those that
        training has written, if any.

        Args:
            split (str): Either :obj:`"val"` or :obj:`"test"`.
        """
        best, logged = self.best_epoch, {}
        for name, curve in self.curves.items():
            epoch = max(curve) if best is None else best
            if re.match(f"{split}_.*@", name) and epoch in curve:
                logged[name.removeprefix(f"{split}_")] = curve[epoch]
        return logged or self.written.get(split, {})

    @property
    def checkpoint(self) -> Path:
        r"""The best checkpoint, or the last one if there is no best.

        Raises:
            ValueError: If there is neither.
        """
        for path in (self.path / name for name in (BEST, LAST)):
            if path.is_file():
                return path
        raise ValueError(f"'{self.path}' holds none of {[BEST, LAST]}")


class Runs(NamedTuple):
    r"""The runs in a folder.

    Args:
        root (Path): The folder.
        models (Dict[str, List[Run]]): The runs by name, in order of seeds.
        others (Dict[str, List[Run]]): Runs of further models that only have
            the metrics that training has written.
        options (Dict[str, str]): The training options as text, by file: those
            of the first run of each model, and the notes that training has
            written on all of them.
    """

    root: Path
    models: Dict[str, List[Run]]
    others: Dict[str, List[Run]]
    options: Dict[str, str]

    def results(self, split: str) -> Dict[str, List[Metrics]]:
        r"""Returns the metrics of a split by model and seed: first the models
        with a run folder, then those that only have written metrics.

        Args:
            split (str): The split.
        """
        out = {}
        for name, runs in {**self.models, **self.others}.items():
            known = [metrics for r in runs if (metrics := r.metrics(split))]
            if known:
                out[name] = known
        return out


def read_runs(root: Path) -> Runs:
    r"""Reads a run folder, or all run folders below it, at any depth.

    Args:
        root (Path): The folder.

    Raises:
        ValueError: If there is no run, or if a file is missing or damaged.
    """
    _, results, notes = _read_metrics(root / METRICS)
    found: Dict[str, List[Run]] = {}
    options = {METRICS: notes} if notes else {}
    paths = _find_runs(root)
    on_all_data = [path for path in paths if _is_on_all_data(path)]
    for path in on_all_data if len(on_all_data) < len(paths) else []:
        warnings.warn(
            f"'{path}' is left out: it was trained on all interactions, and "
            f"has no validation",
            stacklevel=2,
        )
        paths.remove(path)
    for path in paths:
        name, seed = _name_of(root, path)
        written, _, _ = _read_metrics(path / METRICS)
        written = written or results.get(name, {}).get(seed, {})
        # Closed-form models have no epochs to log:
        has_log = (path / LOG).exists() or not written
        curves = read_curves(path / LOG) if has_log else {}
        run = Run(path, name, seed, curves, written)
        found.setdefault(name, []).append(run)

    # Models are in the order of the summary, then by name.
    models: Dict[str, List[Run]] = {}
    others: Dict[str, List[Run]] = {}
    for name in [*results, *sorted(found.keys() - results.keys())]:
        if name not in found:
            every = results[name].values()
            others[name] = [Run(root, name, None, {}, one) for one in every]
            continue
        runs = sorted(found[name], key=lambda run: (run.seed or 0, run.path))
        models[name] = runs
        for path in (runs[0].path / config for config in CONFIGS):
            if path.is_file():
                text = path.read_text("utf-8", errors="replace")
                options[path.relative_to(root).as_posix()] = text
                break
    return Runs(root, models, others, options)


def _find_runs(root: Path) -> List[Path]:
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if not {LOG, BEST, LAST}.isdisjoint(files):
            found.append(Path(folder))
            subfolders.clear()  # A run holds no others.
    if len(found) == 0:
        raise ValueError(f"'{root}' holds no run: no folder with '{LOG}'")
    return found


def _is_on_all_data(path: Path) -> bool:
    config = path / CONFIGS[0]
    if not config.is_file():
        return False
    text = config.read_text("utf-8", errors="replace")
    return re.search(r"(?m)^on_all_data: true$", text) is not None


def _name_of(root: Path, path: Path) -> Tuple[str, Optional[int]]:
    match = re.fullmatch(r"seed_(\d+)", path.resolve().name)
    seed = None if match is None else int(match[1])
    named = path if seed is None else path.parent
    if root in named.parents:
        return named.relative_to(root).as_posix(), seed
    return named.resolve().name or "run", seed


def read_curves(path: Path) -> Dict[str, Dict[int, float]]:
    r"""Reads the log of Lightning's :class:`CSVLogger`. Training and
    validation log separate rows, whose other cells are empty. If an epoch was
    logged twice, as by a resumed run, the later row counts.

    Args:
        path (Path): The file.

    Returns:
        The values of each column by epoch.

    Raises:
        ValueError: If the file is missing or damaged, or if no validation was
            logged.
    """
    curves: Dict[str, Dict[int, float]] = {}
    line = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restkey="", restval="missing")
            for row in reader:
                line = reader.line_num
                epoch = row.pop("epoch")
                row.pop("step", None)
                for name, cell in row.items():
                    if cell != "" and epoch != "":
                        curves.setdefault(name, {})[int(epoch)] = float(cell)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as err:
        raise ValueError(
            f"'{path}', line {line}: cannot be read as a log "
            f"({type(err).__name__}: {err})"
        ) from err
    if not any(name.startswith("val_") for name in curves):
        raise ValueError(f"'{path}' holds no validation such as '{MONITOR}'")
    return {n: dict(sorted(c.items())) for n, c in sorted(curves.items())}


def _read_metrics(
    path: Path,
) -> Tuple[Splits, Dict[str, Dict[Optional[int], Splits]], str]:
    """Reads the metrics of a run by split, those of several models by name
    and seed, and the rest as text.
    """
    if not path.is_file():
        return {}, {}, ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "val_users" in content:
            warnings.warn(
                f"'{path}' has the metrics of validation on a sample of "
                f"{int(content['val_users']):,} users: tmfun validate ranks "
                f"for all",
                stacklevel=2,
            )
        results = {}
        for name, result in content.get("results", {}).items():
            seeds = result.get("runs") or [result.get("mean", {})]
            results[name] = {one.get("seed"): _splits(one) for one in seeds}
        keys = content.keys() & {"versions", "arguments"}
        notes = {key: content[key] for key in sorted(keys)}
        text = json.dumps(notes, indent=2, ensure_ascii=False)
        return _splits(content), results, text if notes else ""
    except (AttributeError, TypeError, ValueError, RecursionError) as err:
        raise ValueError(
            f"'{path}' does not hold metrics by split ({err})"
        ) from err


def _splits(content: Dict[str, Any]) -> Splits:
    return {
        split: {name: float(value) for name, value in content[split].items()}
        for split in SPLITS
        if split in content
    }

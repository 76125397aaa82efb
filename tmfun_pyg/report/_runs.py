"""Reading of run folders."""

import csv
import json
import math
import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import yaml

MONITOR = "val_recall@20"
MAX_OPTIONS = 10_000

Metrics = Dict[str, float]


@dataclass(frozen=True)
class Run:
    r"""One training run.

    Args:
        path (Path): Its folder.
        name (str): The name it shares with runs of other seeds.
        seed (int, optional): The seed, if the folder is named after it.
        curves (Dict[str, Dict[int, float]]): For each column of
            :obj:`metrics.csv` the values by epoch.
        recorded (Dict[str, Dict[str, float]]): For each split the metrics
            that the run has written down.
    """

    path: Path
    name: str
    seed: Optional[int]
    curves: Dict[str, Dict[int, float]]
    recorded: Dict[str, Metrics]

    @property
    def label(self) -> str:
        r"""The name, with the seed if there is one."""
        if self.seed is None:
            return self.name
        return f"{self.name}, seed {self.seed}"

    @property
    def last_epoch(self) -> int:
        r"""The last epoch of which anything was logged."""
        return max(max(curve) for curve in self.curves.values() if curve)

    @property
    def best_epoch(self) -> Optional[int]:
        r"""The first epoch of the highest validation Recall@20, if any was
        logged: the one whose weights are in :obj:`best.ckpt`.
        """
        curve = self.curves.get(MONITOR, {})
        known = {
            e: value for e, value in curve.items() if not math.isnan(value)
        }
        return max(known, key=lambda e: (known[e], -e)) if known else None

    @property
    def validation(self) -> Metrics:
        r"""The validation metrics of the best epoch, or of the last one
        where there is no best.
        """
        epoch = self.best_epoch
        out = {}
        for column, curve in self.curves.items():
            if not column.startswith("val_") or "@" not in column:
                continue
            if epoch is None:
                out[column.removeprefix("val_")] = curve[max(curve)]
            elif epoch in curve:
                out[column.removeprefix("val_")] = curve[epoch]
        return out

    @property
    def checkpoint(self) -> Path:
        r"""The best checkpoint, or the last one where there is no best.

        Raises:
            ValueError: If there is neither.
        """
        for name in ("best.ckpt", "last.ckpt"):
            if (self.path / name).is_file():
                return self.path / name
        raise ValueError(
            f"'{self.path}': found no checkpoint, expected 'best.ckpt' or "
            f"'last.ckpt' beside 'metrics.csv'"
        )


class Runs(NamedTuple):
    r"""What a folder holds.

    Args:
        root (Path): The folder.
        models (Dict[str, List[Run]]): The runs by name, those of one name in
            the order of their seeds.
        others (Dict[str, List[Dict[str, Dict[str, float]]]]): The results of
            models without a run folder here, by split: one entry for each
            seed.
        options (Dict[str, Dict[str, str]]): Options as rows of a table, for
            each file they come from: that of the first run of each name.
        versions (Dict[str, str]): The versions that the runs were made with,
            as far as they were written down.
    """

    root: Path
    models: Dict[str, List[Run]]
    others: Dict[str, List[Dict[str, Metrics]]]
    options: Dict[str, Dict[str, str]]
    versions: Dict[str, str]

    @property
    def date(self) -> str:
        r"""When the last of the runs was written, in UTC."""
        newest = max(
            (run.path / "metrics.csv").stat().st_mtime
            for runs in self.models.values()
            for run in runs
        )
        time = datetime.fromtimestamp(newest, timezone.utc)
        return time.strftime("%Y-%m-%d %H:%M UTC")


def read_runs(root: Path) -> Runs:
    r"""Reads a run folder, or all that are in a folder, at any depth.

    Args:
        root (Path): The folder.

    Raises:
        ValueError: If there is no run, or a file is not what is expected.
    """
    paths = _find_runs(root)
    summary: Dict[str, Any] = {}
    if paths != [root] and (root / "metrics.json").is_file():
        summary = _read_json(root / "metrics.json")
    results = _read_results(root / "metrics.json", summary)

    by_name: Dict[str, List[Run]] = {}
    for path in paths:
        name, seed = _name_run(root, path)
        if (path / "metrics.json").is_file():
            source = path / "metrics.json"
            recorded = _read_splits(source, _read_json(source))
        else:
            recorded = results.get(name, {}).get(seed, {})
        curves = read_curves(path / "metrics.csv")
        run = Run(path, name, seed, curves, recorded)
        by_name.setdefault(name, []).append(run)

    # As the summary orders them, then by name.
    names = [name for name in results if name in by_name]
    names += sorted(by_name.keys() - set(names))
    models = {
        name: sorted(by_name[name], key=lambda run: (run.seed or 0, run.path))
        for name in names
    }
    others = {
        name: list(by_seed.values())
        for name, by_seed in results.items()
        if name not in models
    }
    options: Dict[str, Dict[str, str]] = {}
    if "arguments" in summary:
        arguments = summary["arguments"]
        options["metrics.json"] = _rows(root / "metrics.json", arguments)
    for runs in models.values():
        for file in ("config.yaml", "hparams.yaml"):
            source = runs[0].path / file
            if source.is_file():
                title = source.relative_to(root).as_posix()
                options[title] = _read_options(source)
                break
    versions = _rows(root / "metrics.json", summary.get("versions", {}))
    return Runs(root, models, others, options, versions)


def _find_runs(root: Path) -> List[Path]:
    if not root.is_dir():
        raise ValueError(
            f"'{root}': found no such folder, expected that of a run"
        )
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if {"metrics.csv", "best.ckpt", "last.ckpt"} & set(files):
            found.append(Path(folder))
            subfolders.clear()  # A run holds no others.
    if len(found) == 0:
        raise ValueError(
            f"'{root}': found no run, expected a folder with 'metrics.csv' "
            f"and 'best.ckpt', here or in a sub-folder"
        )
    return found


def _name_run(root: Path, path: Path) -> Tuple[str, Optional[int]]:
    match = re.fullmatch(r"seed_(\d+)", path.resolve().name)
    seed = None if match is None else int(match[1])
    named = path if seed is None else path.parent
    if named == root or root not in named.parents:
        return named.resolve().name or "run", seed
    return named.relative_to(root).as_posix(), seed


def read_curves(path: Path) -> Dict[str, Dict[int, float]]:
    r"""Reads the log of Lightning's :class:`CSVLogger`.

    Rows of training and of validation are apart, and the cells that do not
    belong to a row are empty. Where an epoch was logged twice, as by a resumed
    run, the later row counts.

    Args:
        path (Path): The file.

    Returns:
        For each column the values by epoch.

    Raises:
        ValueError: If the file is missing, a row is not what is expected, or
            there is no row of validation.
    """
    if not path.is_file():
        raise ValueError(
            f"'{path}': found no such file, expected the log of the run, as "
            f"Lightning's CSVLogger writes it"
        )
    curves: Dict[str, Dict[int, float]] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if "epoch" not in header:
            raise ValueError(
                f"'{path}': found the columns {header}, expected 'epoch' "
                f"among them"
            )
        for cells in filter(None, reader):
            where = f"'{path}', line {reader.line_num}"
            if len(cells) != len(header):
                raise ValueError(
                    f"{where}: found {len(cells)} cells, expected "
                    f"{len(header)}"
                )
            row = dict(zip(header, cells, strict=True))
            if row["epoch"] == "":
                continue  # Such as the rate of learning, logged by step.
            epoch = int(_number(row.pop("epoch"), f"{where}, column 'epoch'"))
            row.pop("step", None)
            for name, cell in row.items():
                if cell != "":
                    value = _number(cell, f"{where}, column '{name}'")
                    curves.setdefault(name, {})[epoch] = value
    if not any(name.startswith("val_") for name in curves):
        raise ValueError(
            f"'{path}': found no row of validation, expected at least one "
            f"epoch with a value in a column such as '{MONITOR}'"
        )
    return {
        name: dict(sorted(curves[name].items())) for name in sorted(curves)
    }


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(
            f"{where}: found {cell!r}, expected a number"
        ) from None


def _read_json(path: Path) -> Dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ValueError(f"'{path}': found no JSON ({err})") from err
    return _check_dict(path, content, "an object")


def _check_dict(path: Path, content: Any, expected: str) -> Dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(
            f"'{path}': found {_kind(content)}, expected {expected}"
        )
    return content


def _kind(content: Any) -> str:
    return f"a value of type '{type(content).__name__}'"


def _read_splits(path: Path, content: Any) -> Dict[str, Metrics]:
    """Reads metrics by split, and leaves out all else that is there."""
    expected = 'metrics by split, such as {"test": {"recall@20": 0.1}}'
    content = _check_dict(path, content, expected)
    out: Dict[str, Metrics] = {}
    for split in ("val", "test"):
        if split not in content:
            continue
        out[split] = {}
        for name, value in _check_dict(path, content[split], expected).items():
            if not isinstance(value, (int, float)):
                raise ValueError(
                    f"'{path}', '{split}', '{name}': found {_kind(value)}, "
                    f"expected a number"
                )
            out[split][name] = float(value)
    return out


def _read_results(
    path: Path, summary: Dict[str, Any]
) -> Dict[str, Dict[Optional[int], Dict[str, Metrics]]]:
    """Reads the results of several models, by name and seed."""
    out: Dict[str, Dict[Optional[int], Dict[str, Metrics]]] = {}
    results = _check_dict(
        path, summary.get("results", {}), "'results' by model"
    )
    for name, result in results.items():
        result = _check_dict(path, result, "'runs' or 'mean' of each model")
        runs = result.get("runs", [])
        if len(runs) == 0:
            out[name] = {None: _read_splits(path, result.get("mean", {}))}
            continue
        out[name] = {}
        for run in runs:
            run = _check_dict(path, run, "an object for each run")
            out[name][run.get("seed")] = _read_splits(path, run)
    return out


def _read_options(path: Path) -> Dict[str, str]:
    try:
        # This loader makes strings of all values, whatever their tags say.
        content = yaml.load(
            path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader
        )
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as err:
        raise ValueError(f"'{path}': found no YAML ({err})") from err
    return _rows(path, content if content != "" else {})


def _rows(path: Path, content: Any) -> Dict[str, str]:
    """Makes rows of nested options."""
    content = _check_dict(path, content, "options by name")
    if len(content) == 0:
        return {}
    rows = dict(islice(_flatten(content, ""), MAX_OPTIONS + 1))
    if len(rows) > MAX_OPTIONS:
        raise ValueError(
            f"'{path}': found more than {MAX_OPTIONS} options, expected those "
            f"of one run"
        )
    return rows


def _flatten(
    content: Any, name: str, depth: int = 0
) -> Iterator[Tuple[str, str]]:
    nested = isinstance(content, (dict, list)) and len(content) > 0
    if not nested or depth > 20:
        yield name, _show(content)
    elif isinstance(content, dict):
        for key, value in content.items():
            full = f"{name}.{key}" if name else str(key)
            yield from _flatten(value, full, depth + 1)
    elif any(isinstance(value, (dict, list)) for value in content):
        for place, value in enumerate(content):
            yield from _flatten(value, f"{name}.{place}", depth + 1)
    else:
        yield name, ", ".join(map(_show, content))


def _show(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "..." if value else "none"
    if value is None:
        return "null"
    return str(value)

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch_geometric.data import HeteroData

from tmfun_pyg import __version__
from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.report.analysis import (
    Analysis,
    analyze,
    describe,
    find_items,
    judge,
    name_of,
    training_counts,
)
from tmfun_pyg.report.runs import BEST, LAST, SPLITS, Run, Runs, read_runs
from tmfun_pyg.training import DatasetOptions
from tmfun_pyg.training.checkpoint import read_checkpoint
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write

HELD_OUT = [f"{split}_edge_label_index" for split in SPLITS]
PACKAGES = ("torch", "torch_geometric", "lightning", "matplotlib")


def report(
    run: Path,
    out: Optional[Path] = None,
    split: str = "val",
    items: Optional[List[str]] = None,
    dataset: Optional[Any] = None,
) -> Path:
    r"""Writes a page on a training run, or on all runs in a folder for
    comparison: learning curves, metrics next to most-popular, beyond-accuracy
    metrics of the lists, accuracy by user activity and item popularity, the
    modality attention weights of :class:`~tmfun_pyg.nn.TMFUN`, with item
    titles if known, and the item embeddings in 2D.

    The page, :obj:`report.html`, needs no other file and no network. Its
    figures are also in :obj:`figures` as PNG. The same run gives the same
    files, byte for byte, with the same versions of this package and its
    dependencies.

    A run is a folder with the :obj:`metrics.csv` of Lightning's
    :class:`CSVLogger` and the :obj:`best.ckpt` of
    :func:`~tmfun_pyg.training.default_callbacks`, and optionally with
    :obj:`config.yaml` and a :obj:`metrics.json` of metrics by split. Sibling
    folders :obj:`seed_<n>` are seeds of one model.

    All runs must be on one log and split. Each model reads the features and
    feature graphs that it was trained with; the lists are compared by the
    features of the data set with the most modalities.

    Args:
        run (Path): The folder.
        out (Path, optional): The output folder, :obj:`<run>/report` if not
            given. Other files in it are left alone.
            (default: :obj:`None`)
        split (str, optional): The split to evaluate the trained models on,
            :obj:`"val"` or :obj:`"test"`. The test split is meant to be read
            once, at the very end. (default: :obj:`"val"`)
        items (List[str], optional): Raw ids of the items whose modality
            weights are shown individually. If not given, the most and least
            popular ones and a few others. (default: :obj:`None`)
        dataset (MultimodalRecDataset or SyntheticMultimodal, optional): The
            data set of all runs, read from its location in training if not
            given. (default: :obj:`None`)

    Returns:
        The path of the page.

    Raises:
        ImportError: If matplotlib is not installed:
            :obj:`pip install "tmfun-pyg[plot]"`.
        ValueError: If there is no run, if a file of one is missing or
            damaged, if the runs are on several logs or splits, or if an
            argument is out of range.
    """
    import_extra("matplotlib", "plot")
    from tmfun_pyg.report import sections
    from tmfun_pyg.report.page import Page

    if split not in SPLITS:
        raise ValueError(f"'split' must be one of {[*SPLITS]} (got {split!r})")
    root = Path(run)
    out = root / "report" if out is None else Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"'out' must be a folder (got the file '{out}')")
    runs = read_runs(root)

    analyses, dataset, data = _analyze(runs, split, dataset)
    wanted = find_items(dataset.item_ids, items or [])
    scorer = MostPopular.from_data(data).scorer(data)
    popular = judge(scorer, data, split)
    results = {known: runs.results(known) for known in SPLITS}
    results[split].pop(sections.POPULAR, None)  # Move it to the end.
    results[split][sections.POPULAR] = [popular.metrics]
    accuracies = {n: a.accuracy for n, a in analyses.items() if a.accuracy}
    accuracies[sections.POPULAR] = popular

    level = popular.metrics if split == "val" else {}
    counts = training_counts(data, "item")
    page = Page()
    html = page.html(
        split=split,
        splits=SPLITS,
        num_users=int(popular.activity["recall"].size.sum()),
        runs=runs,
        sizes=describe(dataset),
        analyses=analyses,
        learning=sections.learning_curves(page, runs, level),
        metrics=sections.metrics(page, results, split),
        lists=sections.lists(accuracies),
        weights={
            name: sections.modality_weights(
                page,
                name,
                a.weights,
                dataset.item_ids,
                dataset.item_table,
                wanted,
            )
            for name, a in analyses.items()
            if a.weights
        },
        activity=sections.activity(page, accuracies),
        popularity=sections.popularity(page, accuracies),
        projection=sections.projection(page, analyses, counts),
        versions={n: import_module(n).__version__ for n in PACKAGES},
        version=__version__,
    )
    files = {f"figures/{name}.png": png for name, png in page.pictures.items()}
    for name, content in {**files, "report.html": html.encode()}.items():
        with atomic_write(out / name) as part:
            part.write_bytes(content)
    return out / "report.html"


def _analyze(
    runs: Runs, split: str, given: Optional[Any]
) -> Tuple[Dict[str, Analysis], Any, HeteroData]:
    """Analyzes the first seed of each model, and others only if they have no
    metrics of the split. Also returns the data set with the most modalities,
    and its graph.
    """
    chosen = [
        (name, run)
        for name, of_name in runs.models.items()
        for place, run in enumerate(of_name)
        if place == 0 or not run.metrics(split)
    ]
    datasets = _read_datasets([run for _, run in chosen], given)
    largest = max(datasets, key=lambda dataset: len(dataset.modalities))
    data = ToRecGraph()(largest[0])
    analyses: Dict[str, Analysis] = {}
    for (name, run), dataset in zip(chosen, datasets, strict=True):
        if run.checkpoint.name == LAST:
            warnings.warn(
                f"'{run.path}' has no {BEST}: its last epoch is described",
                stacklevel=3,
            )
        try:
            rec = Recommender.load(run.checkpoint, dataset)
        except ValueError as err:
            raise ValueError(f"'{run.checkpoint}': {err}") from err
        analysis = analyze(rec, split, data)
        analyses.setdefault(name, analysis)
        if analysis.accuracy is not None:
            run.written.setdefault(split, analysis.accuracy.metrics)
    return analyses, largest, data


def _read_datasets(runs: List[Run], given: Optional[Any]) -> List[Any]:
    """Returns the data set of each run, the same one for the same source.
    Several logs or splits are an error.
    """
    known: Dict[str, Any] = {}
    datasets: List[Any] = []
    for run in runs:
        source = read_checkpoint(run.checkpoint)["recommender"]["source"]
        if given is None and source is None:
            raise ValueError(
                f"'{run.checkpoint}' has no source: give 'dataset'"
            )
        key = str(source)
        if given is not None:
            known[key] = given
        elif key not in known:
            known[key] = DatasetOptions(**source).load()
        dataset = known[key]
        datasets.append(dataset)
        if not _is_same_log(datasets[0], dataset):
            names = [_name_in_error(x) for x in (datasets[0], dataset)]
            raise ValueError(
                f"'run' must hold runs on one log and split (got "
                f"'{runs[0].path}' on {names[0]} and '{run.path}' on "
                f"{names[1]}); give a folder with the runs of one of them"
            )
    return datasets


def _is_same_log(dataset: Any, other: Any) -> bool:
    """Whether two data sets have the same ids, interactions and splits,
    whatever else they hold.
    """
    if dataset is other:
        return True
    store, others = (
        x[0]["user", "interacts", "item"] for x in (dataset, other)
    )
    keys = ["edge_index", *HELD_OUT]
    return (
        np.array_equal(dataset.user_ids, other.user_ids)
        and np.array_equal(dataset.item_ids, other.item_ids)
        and all(key in store and key in others for key in keys)
        and all(torch.equal(store[key], others[key]) for key in keys)
    )


def _name_in_error(dataset: Any) -> str:
    """Returns the name of a data set for an error."""
    store = dataset[0]["user", "interacts", "item"]
    name = name_of(dataset)
    is_judged = any(key in store for key in HELD_OUT)
    return name if is_judged else f"{name}, all of it for training"

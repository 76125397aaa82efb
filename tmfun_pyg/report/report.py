from importlib import import_module
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from tmfun_pyg import __version__
from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.recommender import Recommender
from tmfun_pyg.report.analysis import (
    Analysis,
    analyze,
    describe,
    find_items,
    judge,
    training_counts,
)
from tmfun_pyg.report.runs import SPLITS, Runs, read_runs
from tmfun_pyg.training.checkpoint import check_fingerprint, read_checkpoint
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write

PACKAGES = ("torch", "torch_geometric", "lightning", "matplotlib")


def report(
    run: Path,
    out: Optional[Path] = None,
    split: str = "val",
    items: Optional[List[str]] = None,
    dataset: Optional[Any] = None,
) -> Path:
    r"""Makes a page about a training run, or about all runs in a folder,
    which are then compared: learning curves, metrics beside most-popular,
    what the lists look like, accuracy by the activity of users and the
    popularity of items, the weights of :class:`~tmfun_pyg.nn.TMFUN`'s modality
    attention, of items by title where these are known, and the item embeddings
    in the plane.

    The page, :obj:`report.html`, needs no other file and no network. The
    same figures are in :obj:`figures` as PNG. The same run makes the same
    files, byte for byte, as long as this package and those it is built on
    are of the same versions.

    A run is a folder with the :obj:`metrics.csv` of Lightning's
    :class:`CSVLogger` and the :obj:`best.ckpt` of
    :func:`~tmfun_pyg.training.default_callbacks`, and if there is one, with
    :obj:`config.yaml` and a :obj:`metrics.json` of metrics by split. Folders
    :obj:`seed_<n>` beside each other are seeds of one model.

    Args:
        run (Path): The folder.
        out (Path, optional): Where to write, :obj:`<run>/report` if not
            given. Other files there are left as they are.
            (default: :obj:`None`)
        split (str, optional): The split by which the trained models are
            judged, :obj:`"val"` or :obj:`"test"`. The test split is meant to
            be read once, at the very end. (default: :obj:`"val"`)
        items (List[str], optional): Raw ids of the items whose modality
            weights are shown one by one. If not given, it is the most and the
            least popular ones and a few others. (default: :obj:`None`)
        dataset (MultimodalRecDataset or SyntheticMultimodal, optional): The
            data set of all runs, read from where it was in training if not
            given. (default: :obj:`None`)

    Returns:
        The path of the page.

    Raises:
        ImportError: If matplotlib is not installed:
            :obj:`pip install "tmfun-pyg[plot]"`.
        ValueError: If there is no run, if a file of one is missing or
            damaged, if the runs are of several data sets, or if an argument
            is out of range.
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

    analyses, rec = _analyze(runs, split, dataset)
    wanted = find_items(rec.dataset.item_ids, items or [])
    scorer = MostPopular.from_data(rec.data).scorer(rec.data)
    popular = judge(scorer, rec.data, split)
    results = {known: runs.results(known) for known in SPLITS}
    results[split].pop(sections.POPULAR, None)  # Now it is the last of all.
    results[split][sections.POPULAR] = [popular.metrics]
    accuracies = {n: a.accuracy for n, a in analyses.items() if a.accuracy}
    accuracies[sections.POPULAR] = popular

    level = popular.metrics if split == "val" else {}
    counts = training_counts(rec.data, "item")
    page = Page()
    html = page.html(
        split=split,
        splits=SPLITS,
        num_users=int(popular.activity["recall"].size.sum()),
        runs=runs,
        sizes=describe(rec.dataset),
        analyses=analyses,
        learning=sections.learning_curves(page, runs, level),
        metrics=sections.metrics(page, results, split),
        lists=sections.lists(accuracies),
        weights={
            name: sections.modality_weights(
                page,
                name,
                a.weights,
                rec.dataset.item_ids,
                rec.dataset.item_table,
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
    runs: Runs, split: str, dataset: Optional[Any]
) -> Tuple[Dict[str, Analysis], Recommender]:
    """Analyzes the first seed of each model, and others only if they have
    written no metrics of the split.
    """
    analyses: Dict[str, Analysis] = {}
    known = {True: dataset, False: dataset}
    for name, of_name in runs.models.items():
        for run in of_name:
            if name in analyses and run.metrics(split):
                continue
            rec = _load(run.checkpoint, known)
            analysis = analyze(rec, split)
            analyses.setdefault(name, analysis)
            if analysis.accuracy is not None:
                run.written.setdefault(split, analysis.accuracy.metrics)
    return analyses, rec


def _load(path: Path, known: Dict[bool, Optional[Any]]) -> Recommender:
    """Loads a model with the data set that those before have, with feature
    graphs or without, and refuses another data set.
    """
    about = read_checkpoint(path)["recommender"]
    source = about["source"] or {}
    has_graphs = source.get("feature_graphs", True)
    rec = Recommender.load(path, known[has_graphs])
    known[has_graphs] = rec.dataset
    for dataset in known.values():
        if dataset is not None:
            check_fingerprint(about["fingerprint"], dataset)
    return rec

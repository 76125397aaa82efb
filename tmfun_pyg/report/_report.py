import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional
from uuid import uuid4

import lightning
import torch
import torch_geometric

from tmfun_pyg import __version__
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.report._analysis import analyse, describe
from tmfun_pyg.report._modality_weights import find_items
from tmfun_pyg.report._runs import Metrics, Run, read_runs
from tmfun_pyg.training import load_checkpoint


def report(
    run: Path,
    out: Optional[Path] = None,
    split: str = "val",
    items: Optional[List[str]] = None,
    dataset: Optional[Any] = None,
) -> Path:
    r"""Makes a page about a training run, or about all runs in a folder,
    which are then compared: learning curves, metrics beside most-popular,
    accuracy by the activity of users and the popularity of items, the weights
    of :class:`~tmfun_pyg.nn.TMFUN`'s modality attention, and the item
    embeddings in the plane.

    The page, :obj:`report.html`, needs nothing else, no network either. The
    same figures are in :obj:`figures` as PNG. The same run makes the same
    files, byte for byte, with the same versions of this package and those it
    is built on.

    A run is a folder with the :obj:`metrics.csv` of Lightning's
    :class:`CSVLogger` and the :obj:`best.ckpt` of
    :func:`~tmfun_pyg.training.default_callbacks`, and if there is one, with
    :obj:`config.yaml` and a :obj:`metrics.json` of metrics by split. Folders
    :obj:`seed_<n>` beside each other are seeds of one model.

    Args:
        run (Path): The folder.
        out (Path, optional): Where to write, :obj:`<run>/report` if not
            given. Files there that this report does not write are left as
            they are. (default: :obj:`None`)
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
        ValueError: If there is no run, if a file of one is missing, damaged
            or not what is expected, if the runs are of several data sets, or
            if an argument is out of range.
    """
    try:
        import matplotlib
    except ImportError as err:
        raise ImportError(
            'a report needs matplotlib: pip install "tmfun-pyg[plot]"'
        ) from err
    from tmfun_pyg.report import _sections
    from tmfun_pyg.report._page import Page, paragraph

    if split not in _sections.SPLITS:
        raise ValueError(
            f"'split' must be one of {list(_sections.SPLITS)} (got {split!r})"
        )
    root = Path(run)
    out = root / "report" if out is None else Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"'{out}': found a file, expected a folder or none")
    runs = read_runs(root)

    analyses = {}
    for name, of_name in runs.models.items():
        loaded = load_checkpoint(of_name[0].checkpoint, dataset)
        # The next one is refused if it was made with another data set.
        dataset = loaded.dataset
        analyses[name] = analyse(loaded.model, dataset, split)
    assert dataset is not None
    wanted = find_items(dataset.item_ids, items or [])
    facts = describe(dataset, split)

    results: Dict[str, _sections.Results] = {"val": {}, "test": {}}
    for name, of_name in runs.models.items():
        results["val"][name] = [one.validation for one in of_name]
        of_test = [_test_metrics(one, split, dataset) for one in of_name]
        results["test"][name] = [one for one in of_test if one is not None]
    for name, by_split in runs.others.items():
        for metrics in by_split:
            for known in metrics:
                results[known].setdefault(name, []).append(metrics[known])
    results[split][_sections.POPULAR] = [facts.metrics]
    results = {
        known: {name: ms for name, ms in of_split.items() if ms}
        for known, of_split in results.items()
    }

    page = Page()
    _sections.add_summary(page, runs, analyses, facts)
    _sections.add_learning_curves(page, split, runs, facts)
    _sections.add_metrics(page, split, results)
    _sections.add_modality_weights(page, analyses, facts, wanted)
    _sections.add_activity(page, split, analyses, facts)
    _sections.add_popularity(page, split, analyses, facts)
    _sections.add_projection(page, analyses, facts)
    kinds = dict.fromkeys(analysis.kind for analysis in analyses.values())
    lead = (
        f"Trained models are judged by the {_sections.SPLITS[split]} split, "
        f"all items ranked."
    )
    date = f"The last of the training was written on {runs.date}."
    foot = (
        f"Made by tmfun_pyg {__version__} with torch {torch.__version__}, "
        f"torch_geometric {torch_geometric.__version__}, lightning "
        f"{lightning.__version__} and matplotlib {matplotlib.__version__}."
    )
    html = page.html(
        f"{', '.join(kinds)} on {facts.name}",
        [paragraph(lead), paragraph(date)],
        foot,
    )
    files = {f"figures/{name}.png": png for name, png in page.pictures.items()}
    _write(out, {**files, "report.html": html.encode("utf-8")})
    return out / "report.html"


def _test_metrics(run: Run, split: str, dataset: Any) -> Optional[Metrics]:
    """Returns the test metrics that the run has written down. Only if the
    test split is asked for, they are computed where there are none.
    """
    if "test" in run.recorded or split != "test":
        return run.recorded.get("test")
    model = load_checkpoint(run.checkpoint, dataset).model
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        return None
    return evaluate(model, dataset[0], "test")


def _write(out: Path, files: Dict[str, bytes]) -> None:
    """Writes all files beside their place first, then moves them there."""
    part = out.parent / f".{out.name}.{uuid4().hex}.part"
    try:
        for name, content in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not out.exists():
            os.replace(part, out)
            return
        (out / "figures").mkdir(exist_ok=True)
        for name in files:
            os.replace(part / name, out / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)

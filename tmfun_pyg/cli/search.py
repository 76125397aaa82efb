import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, List

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from tmfun_pyg.cli.command import show
from tmfun_pyg.cli.fit import fit_parser
from tmfun_pyg.cli.progress import Progress
from tmfun_pyg.cli.run_folder import CONFIG, DATABASE, files_in, own_folder
from tmfun_pyg.cli.signals import INTERRUPT
from tmfun_pyg.cli.training_options import (
    ARGUMENTS,  # noqa: F401 (for errors, see main)
    OUTPUT,
    as_list,
    check_trainable,
    check_trainer,
    instantiate,
    make_loader,
    make_model,
    make_parser,
    make_trainer,
    parse,
    warn_of_unread,
)
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.training import (
    DatasetOptions,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.training.search import Params, find_best
from tmfun_pyg.training.search_spaces import SPACES, space_of
from tmfun_pyg.transforms import ToRecGraph
from tmfun_pyg.utils.extras import import_extra
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.messages import check_at_least


@dataclass
class SearchOptions:
    """How long is searched, and where it is kept.

    Args:
        out: The folder of the search.
        budget: The number of trials.
    """

    out: str
    budget: int = 8


def search(args: List[str]) -> int:
    """Searches the options of a model on validation, and writes the best as a
    configuration for tmfun fit.
    """
    parser = search_parser()
    config = parse(parser, SearchOptions, args)
    optuna = import_extra("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_at_least("budget", config.budget, 1)
    check_trainer(config)
    folder = Path(config.out)
    found = files_in(folder)
    if found and set(found) not in ({CONFIG, DATABASE}, {DATABASE}):
        raise ValueError(
            f"--out must be a new folder, or that of a search (got "
            f"'{folder}', which holds {found[-1]})"
        )
    try:
        with own_folder(folder, (DATABASE,), ()):
            _search(parser, config, folder)
    except MisconfigurationException as err:
        raise ValueError(err) from err
    except KeyboardInterrupt:
        text = "interrupted: to go on, give the same command again"
        print(f"\ntmfun search: {text}", file=sys.stderr)
        return INTERRUPT
    return 0


def search_parser() -> ArgumentParser:
    """Returns a parser for the options of this command."""
    parser = make_parser(
        "search",
        "Searches the options of a model, and writes a configuration of those "
        "with the best validation Recall@20 for tmfun fit. The options given "
        "are tried first.",
        SearchOptions,
    )
    parser.add_argument(
        "--fixed",
        nargs="+",
        default=[],
        metavar="OPTION",
        help="options of the model, or lr, that are not searched",
    )
    return parser


def _search(parser: ArgumentParser, config: Namespace, folder: Path) -> None:
    cls = resolve_name(config.model.class_path)
    name = cls.__name__
    if name not in SPACES:
        raise ValueError(
            f"--model must be one of {', '.join(SPACES)} (got {name})"
        )
    given = {"lr": config.lr, **dict(config.model.get("init_args") or {})}
    for option in config.fixed:
        if option not in SPACES[name]:
            raise ValueError(
                f"--fixed must be of {', '.join(SPACES[name])} (got {option})"
            )
    free = {k: v for k, v in given.items() if k not in config.fixed}
    space = space_of(name, free)
    if len(space) == 0:
        raise ValueError(
            f"--fixed must leave an option to be searched (got {config.fixed})"
        )
    others = {k: v for k, v in given.items() if k not in space}

    objects = instantiate(parser, config)
    objects.data.feature_graphs = cls.reads_feature_graphs
    dataset = objects.data.load()
    data = ToRecGraph()(dataset[0])
    cls.check_features(data)
    # Checked before a study is created:
    options = {key: value for key, value in given.items() if key != "lr"}
    make_loader(config, data)
    model = make_model(cls, data, options)
    if is_trained := next(model.parameters(), None) is not None:
        check_trainable(config, model, data, dataset)
        _make_trainer([], objects)
    settings = {key: config[key] for key in ("seed_everything", "patience")}
    for group in ("loader", "trainer"):
        for key, value in config[group].as_dict().items():
            if key not in OUTPUT:
                settings[f"{group}.{key}"] = value
    plan = {
        "model": config.model.class_path,
        "settings": settings,
        "data": {
            "fingerprint": dataset.fingerprint,
            "k": config.data.k,
            "recall": config.data.recall,
        },
        "params": others,
        "space": space,
    }
    plan = json.loads(json.dumps(plan, default=str))

    def train(tried: Params, number: int, rule: Callback) -> float:
        options = {**others, **tried}
        lr = options.pop("lr")
        seed_everything(config.seed_everything, workers=True, verbose=False)
        model = make_model(cls, data, options)
        if not is_trained:
            if number == 0:
                warn_of_unread(parser, config, model)
            model.fit(data)
            users = make_loader(config, data).val_sample
            return evaluate(model, data, "val", users=users)["recall@20"]
        module = RecommenderModule(model, data, lr=lr)
        return _train(module, rule, config, objects)

    path = folder / DATABASE
    defaults = {key: given[key] for key in space}
    best = find_best(train, path, "search", plan, defaults, config.budget)
    _write_config(config, {**given, **best}, objects.data, folder / CONFIG)
    shown = ", ".join(f"{key} {value}" for key, value in best.items())
    print(f"\nThe best of {name}: {shown}. Next:")
    print(show("fit", "--config", folder.absolute() / CONFIG))


def _train(
    module: RecommenderModule,
    rule: Callback,
    config: Namespace,
    objects: Namespace,
) -> float:
    """Trains with early stopping. Returns the best validation Recall@20."""
    stopping: Any = default_callbacks(patience=config.patience)[0]
    trainer = _make_trainer([stopping, rule, Progress()], objects)
    try:
        trainer.fit(module, make_loader(config, module.data))
    except SystemExit:
        if not trainer.interrupted:
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    return float(stopping.best_score)


def _make_trainer(callbacks: List[Callback], objects: Namespace) -> Trainer:
    """Returns the trainer of a trial, with these and the given callbacks."""
    asked = copy.deepcopy(objects.trainer.as_dict())
    asked |= {"callbacks": [*callbacks, *as_list(asked["callbacks"])]}
    asked |= {"logger": False, "num_sanity_val_steps": 0}
    trainer = make_trainer(asked | {"enable_checkpointing": False})
    if trainer.world_size > 1:
        raise ValueError(
            f"--trainer.devices must be 1 to search (got {trainer.world_size})"
        )
    return trainer


def _write_config(
    config: Namespace, options: Params, data: DatasetOptions, path: Path
) -> None:
    """Writes the configuration of a run with the given options."""
    config = config.clone()
    for key in ("budget", "fixed"):
        config.pop(key)
    config.lr = options.pop("lr")
    config.model.init_args = Namespace(**options)
    config.data.root, config.data.name = data.root, data.name
    config.out, config.resume = None, False
    with atomic_write(path) as part:
        fit_parser().save(config, part, overwrite=True)

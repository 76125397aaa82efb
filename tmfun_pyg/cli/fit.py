import csv
import os.path as osp
import pkgutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, List, Optional, Type

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from tmfun_pyg.baselines import MostPopular
from tmfun_pyg.cli._command import print_metrics, write_metrics
from tmfun_pyg.cli.main import INTERRUPT
from tmfun_pyg.evaluation import evaluate
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training import (
    AtomicCheckpointIO,
    DatasetOptions,
    InteractionDataModule,
    RecommenderModule,
    default_callbacks,
)
from tmfun_pyg.training.checkpoint import read_checkpoint
from tmfun_pyg.utils.files import atomic_write

# What the data set says, and what is no plain value:
NOT_OPTIONS = {"num_users", "num_items", "in_channels", "table"}


class FitCLI(LightningCLI):
    """Reads the options of `tmfun fit`, and makes what they describe."""

    def __init__(self, args: List[str]) -> None:
        super().__init__(
            run=False,
            args=args,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "max_epochs": 500,
                "devices": 1,
                "log_every_n_steps": 1,
                "enable_model_summary": False,
            },
            parser_kwargs={
                "prog": "tmfun fit",
                "usage": "tmfun fit [--config FILE] [--data.root DIR] "
                "[--model NAME] [other options, see --help]",
                "description": "Trains a model, by default TMFUN on the "
                "embedded data set.",
            },
            auto_configure_optimizers=False,
        )

    def add_core_arguments_to_parser(
        self, parser: LightningArgumentParser
    ) -> None:
        """Adds the trainer, the model and the data set."""
        parser.add_class_arguments(DatasetOptions, "data")
        parser.add_subclass_arguments(
            RankingModel, "model", skip=NOT_OPTIONS, metavar="MODEL"
        )
        parser.set_defaults({"model": {"class_path": "tmfun_pyg.nn.TMFUN"}})
        parser.add_class_arguments(
            InteractionDataModule,
            "loader",
            skip={"data", "seed"},
            instantiate=False,
        )
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults(
            {f"trainer.{k}": v for k, v in self.trainer_defaults.items()}
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds all else."""
        add = parser.add_argument
        add("--lr", type=float, default=2e-3, help="The learning rate.")
        add(
            "--patience",
            type=int,
            default=20,
            help="Epochs without a better validation Recall@20 to stop after.",
        )
        add(
            "--out",
            type=Optional[str],
            help="The folder of the run. (default: runs/DATA/MODEL/seed_N)",
        )
        add(
            "--resume",
            type=bool,
            default=False,
            help="Whether to go on with the run in the folder.",
        )

    def parse_arguments(
        self, parser: LightningArgumentParser, args: Any
    ) -> None:
        """Parses the options, without a warning about sys.argv."""
        self.config = parser.parse_args(args)

    def instantiate_classes(self) -> None:
        """Makes the model for its data set, and all that trains it."""
        # A model can't be made ahead of its data set.
        others = self.config.clone()
        others.model = None
        self.config_init = self.parser.instantiate_classes(others)
        self.source: DatasetOptions = self.config_init.data
        self.folder = self._find_folder()
        self.dataset = self.source.load()
        data = self.dataset[0]
        options = self.config.model.get("init_args") or {}
        model = self._find_class().from_data(data, **dict(options))
        if not any(True for _ in model.parameters()):
            raise ValueError(
                f"--model {type(model).__name__}: found a model without "
                f"weights, expected one to be trained"
            )
        self.model = RecommenderModule(
            model,
            lr=self.config.lr,
            dataset=self.dataset,
            source=self.source,
        )
        self.datamodule = InteractionDataModule(
            data, seed=self._seed, **dict(self.config.loader)
        )
        self.logger = _AppendingLogger(self.folder)
        given = self.config_init.trainer
        loggers = [
            logger
            for logger in _as_list(given.logger)
            if not isinstance(logger, bool)
        ]
        callbacks = default_callbacks(str(self.folder), self.config.patience)
        self.config_init.trainer.callbacks = [
            *_as_list(given.callbacks),
            *callbacks,
        ]
        self.trainer = self.instantiate_trainer(
            logger=[self.logger, *loggers],
            plugins=[*_as_list(given.plugins), AtomicCheckpointIO()],
        )

    @property
    def _seed(self) -> int:
        seed = self.config.seed_everything
        if isinstance(seed, bool):
            raise ValueError(
                f"--seed_everything: found {seed}, expected a number"
            )
        return seed

    def _find_class(self) -> Type[RankingModel]:
        return pkgutil.resolve_name(self.config.model.class_path)

    def _find_folder(self) -> Path:
        """Chooses the folder of the run, which must not hold another."""
        if self.config.out is None:
            data = self.source.name or "embedded"
            model = self._find_class().__name__
            self.config.out = osp.join(
                "runs", data, model, f"seed_{self._seed}"
            )
        folder = Path(self.config.out)
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"--out {folder}: found a file, expected a folder"
            )
        if (folder / "last.ckpt").exists() and not self.config.resume:
            raise ValueError(
                f"--out {folder}: found a run there, expected --resume true "
                f"to go on with it, or another folder"
            )
        return folder


class _AppendingLogger(CSVLogger):
    """Writes metrics.csv, each epoch at once, and goes on with one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder.parent, folder.name, "", flush_logs_every_n_steps=1
        )

    def keep(self, num_epochs: int) -> None:
        """Keeps the rows of the first epochs, of a run that goes on."""
        path = Path(self.log_dir, "metrics.csv")
        if not path.exists():
            return
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            rows = [row for row in reader if int(row["epoch"]) < num_epochs]
        # Lightning removes the file when it begins.
        self.experiment.metrics_keys = columns
        with (
            atomic_write(path) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


def fit(args: List[str]) -> int:
    """Trains a model, and judges its best epoch on validation."""
    try:
        return _fit(FitCLI(_find_configs(args)))
    except MisconfigurationException as err:
        raise ValueError(err) from err


def _fit(cli: FitCLI) -> int:
    folder, trainer = cli.folder, cli.trainer
    resumed = folder / "last.ckpt" if cli.config.resume else None
    if resumed is not None and not resumed.exists():
        print(f"{folder}: no epoch is finished there, starting anew")
        resumed = None
    if resumed is not None:
        epoch = read_checkpoint(resumed)["epoch"]
        if -1 < (trainer.max_epochs or -1) <= epoch:
            raise ValueError(
                f"--trainer.max_epochs {trainer.max_epochs}: found a run of "
                f"{epoch + 1} epochs in {folder}, expected more to do"
            )
        cli.logger.keep(epoch + 1)
        print(f"Going on after epoch {epoch} of {folder}")
    try:
        trainer.fit(cli.model, cli.datamodule, ckpt_path=resumed)
    except SystemExit:
        if not trainer.interrupted:
            raise
    if trainer.interrupted:
        return _tell_interrupted(folder)
    if cli.config.trainer.fast_dev_run:
        return 0

    best = folder / "best.ckpt"
    checkpoint = read_checkpoint(best)
    cli.model.load_state_dict(checkpoint["state_dict"])
    model, data = cli.model.model, cli.dataset[0]
    metrics = evaluate(model, data, "val")
    popular = evaluate(MostPopular.from_data(data), data, "val")
    write_metrics(
        folder / "metrics.json",
        {"val": metrics, "best_epoch": checkpoint["epoch"]},
    )
    print(f"\nValidation, after epoch {checkpoint['epoch']} as the best:")
    print_metrics({"most-popular": popular, type(model).__name__: metrics})
    print(f"\nThe run is in {folder}. Next:\n  tmfun test --ckpt {best}")
    return 0


def _tell_interrupted(folder: Path) -> int:
    if (folder / "last.ckpt").exists():
        text = (
            f"interrupted: the last finished epoch is {folder}/last.ckpt, to "
            f"go on:\n  tmfun fit --config {folder}/config.yaml --resume true"
        )
    else:
        text = "interrupted in the first epoch: there is nothing to keep yet"
    print(f"\ntmfun fit: {text}", file=sys.stderr)
    return INTERRUPT


def _find_configs(args: List[str]) -> List[str]:
    """Takes a name for the configuration of that name in the package."""
    words = list(args)
    for place, word in enumerate(words[:-1]):
        name = words[place + 1]
        if word in ("-c", "--config") and not Path(name).exists():
            shipped = files("tmfun_pyg.configs")
            path = shipped / f"{name}.yaml"
            if not path.is_file():
                known = sorted(
                    entry.name.removesuffix(".yaml")
                    for entry in shipped.iterdir()
                    if entry.name.endswith(".yaml")
                )
                raise ValueError(
                    f"--config {name}: found no such file, expected one, or "
                    f"one of {', '.join(known)}"
                )
            words[place + 1] = str(path)
    return words


def _as_list(value: Any) -> List[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]

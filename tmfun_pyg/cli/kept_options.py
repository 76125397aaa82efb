"""Options that must match those of a run that is resumed or repeated."""

from pathlib import Path
from typing import Any, Collection, Dict, Tuple

import yaml
from jsonargparse import ArgumentParser, Namespace

from tmfun_pyg.cli.config_file import read_config
from tmfun_pyg.cli.run_folder import CONFIG

# The duration and place of training, and the display. The checkpoint checks
# the model and the data set itself. All other options must stay the same.
MAY_CHANGE = {
    *("out", "resume", "patience", "data.root", "data.name", "model"),
    *("trainer.max_epochs", "trainer.max_time", "loader.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *("trainer.strategy", "trainer.logger", "trainer.log_every_n_steps"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.default_root_dir", "trainer.profiler"),
    "trainer.num_sanity_val_steps",
}


def check_options(
    parser: ArgumentParser,
    config: Namespace,
    folder: Path,
    purpose: str,
    may_change: Collection[str] = MAY_CHANGE,
) -> None:
    """Checks that options match those of a run.

    Args:
        parser: The parser of the options.
        config: The options.
        folder: The folder of the run.
        purpose: The verb for its use in errors.
        may_change: The options that may differ.
    """
    path = folder / CONFIG
    if not path.exists():
        raise ValueError(
            f"'{folder}' must hold {CONFIG} to {purpose} the run there"
        )
    now = _flat(yaml.safe_load(parser.dump(config)))
    then = _flat(read_config(path))
    for key, value in now.items():
        if key not in may_change and value != then.get(key):
            key, expected, found = first_other(key, then.get(key), value)
            raise ValueError(
                f"--{key} must be {expected} to {purpose} the run in "
                f"'{folder}' (got {found})"
            )


def first_other(key: str, expected: Any, found: Any) -> Tuple[str, Any, Any]:
    """Returns the first option of a class that differs, with both values, or
    the class itself. Values without options are returned as they are.

    Args:
        key: The name of the value, such as model.
        expected: The expected value.
        found: The actual value, which differs.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in {**expected, **found}:
            values = expected.get(name), found.get(name)
            if values[0] != values[1]:
                is_part = name in ("class_path", "init_args")
                return first_other(key if is_part else f"{key}.{name}", *values)
    return key, expected, found


def _flat(config: Dict[str, Any]) -> Dict[str, Any]:
    out = {}
    for group, value in config.items():
        if group in ("data", "loader", "trainer") and isinstance(value, dict):
            out.update({f"{group}.{key}": one for key, one in value.items()})
        else:
            out[group] = value
    return out

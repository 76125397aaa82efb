"""The contents of checkpoints, from training and from `Recommender.save()`."""

from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    Literal,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    get_args,
    get_origin,
)
from zipfile import ZipFile

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

import tmfun_pyg.baselines
import tmfun_pyg.nn
from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training.dataset_options import DatasetOptions
from tmfun_pyg.utils.edges import check_graph_k
from tmfun_pyg.utils.files import atomic_write
from tmfun_pyg.utils.retrieval import DIVERGED

Dataset = Union[MultimodalRecDataset, SyntheticMultimodal]
FORMAT_VERSION = 1
# Of weights:
DTYPES = {torch.half, torch.bfloat16, torch.float, torch.double, torch.bool}
DTYPES |= {torch.uint8, torch.int8, torch.short, torch.int, torch.long}
PREFIX = "model."  # Of the weights of a RecommenderModule.


class AtomicCheckpointIO(TorchCheckpointIO):
    r"""Writes checkpoints completely or not at all: if the disk is full or the
    process is killed, the previous one stays readable. Pass it to the
    :obj:`plugins` of a trainer.
    """

    def save_checkpoint(
        self,
        checkpoint: Dict[str, Any],
        path: Any,
        storage_options: Optional[Any] = None,
    ) -> None:
        r"""Writes a checkpoint.

        Raises:
            OSError: If the file cannot be written.
        """
        try:
            with atomic_write(path) as part:
                torch.save(checkpoint, part)
        # torch reports a file that cannot grow as a RuntimeError.
        except RuntimeError as err:
            raise OSError(f"'{path}' cannot be written: {err}") from err


def describe_run(
    model: RankingModel, dataset: Dataset, source: Optional[DatasetOptions]
) -> Dict[str, Any]:
    r"""Returns the entries of a checkpoint that describe its model and data
    set, in plain values:

    * :obj:`format_version` (int),
    * :obj:`vocabulary`: the raw ids of users and items, and the modalities,
    * :obj:`recommender`: the class of the model and its options, the
      fingerprint of the data set, the :obj:`k` of its feature graphs if the
      model reads any, and where it was read from.

    Args:
        model (RankingModel): The model.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
        source (DatasetOptions, optional): Where it was read from.
    """
    return {
        "format_version": FORMAT_VERSION,
        "vocabulary": {
            "user_ids": dataset.user_ids.tolist(),
            "item_ids": dataset.item_ids.tolist(),
            "modalities": list(dataset.modalities),
        },
        "recommender": {
            "model": type(model).__name__,
            "options": model.options if _is_plain(model.options) else None,
            "fingerprint": dataset.fingerprint,
            "graph_k": model.graph_k,
            "source": None if source is None else asdict(source),
        },
    }


def read_checkpoint(path: Any) -> Dict[str, Any]:
    r"""Reads a checkpoint and checks its entries. Adds its :obj:`"path"`, for
    error messages.

    Args:
        path (str): The checkpoint.

    Raises:
        ValueError: If it is missing, is not such a checkpoint or is damaged,
            or if its weights are not finite.
    """
    damaged = None
    try:
        with ZipFile(path) as file:
            damaged = file.testzip()
        if damaged is None:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except IsADirectoryError as err:
        best = Path(path, "best.ckpt")
        hint = f"; for the best epoch of the run pass '{best}'"
        raise ValueError(
            f"'{path}' must be a checkpoint (got a folder)"
            f"{hint if best.is_file() else ''}"
        ) from err
    except FileNotFoundError as err:
        raise ValueError(f"'{path}' does not exist") from err
    # torch raises various errors for files that are not checkpoints.
    except Exception as err:
        raise ValueError(
            f"'{path}' cannot be read as a checkpoint ({type(err).__name__})"
        ) from err
    if damaged is not None:
        raise ValueError(
            f"'{path}' must be as it was written (got another checksum for its "
            f"part '{damaged.partition('/')[2]}')"
        )
    if not isinstance(checkpoint, dict) or "recommender" not in checkpoint:
        raise ValueError(
            f"'{path}' must be a checkpoint of training or of "
            f"Recommender.save() (got one without 'recommender')"
        )
    found = checkpoint.get("format_version")
    if type(found) is not int or found != FORMAT_VERSION:
        raise ValueError(
            f"'{path}' must be of format_version {FORMAT_VERSION} (got {found})"
        )
    about, state = checkpoint["recommender"], checkpoint.get("state_dict")
    words = checkpoint.get("vocabulary")
    if (
        not isinstance(words, dict)
        or not words.keys() >= {"user_ids", "item_ids", "modalities"}
        or not all(isinstance(value, list) for value in words.values())
        or not isinstance(about, dict)
        or not about.keys() >= {"model", "options", "fingerprint", "source"}
        or not isinstance(about["model"], str)
        or not isinstance(about["options"], (dict, type(None)))
        or not isinstance(about["fingerprint"], str)
        or not isinstance(about.get("graph_k"), (int, type(None)))
        or not _is_source(about["source"])
        or not isinstance(state, dict)
        or not all(isinstance(name, str) for name in state)
        or not isinstance(checkpoint.get("epoch", ""), (int, type(None)))
    ):
        raise ValueError(
            f"'{path}' must hold 'recommender', 'vocabulary', 'state_dict' and "
            f"'epoch' as RecommenderModule and Recommender.save() write them"
        )
    for name, weight in tensors_of(state):
        if (
            not isinstance(weight, Tensor)
            or weight.layout != torch.strided
            or weight.device.type != "cpu"
            or weight.dtype not in DTYPES
        ):
            raise ValueError(
                f"'{path}' must hold weights in dense tensors of real numbers "
                f"('{name}' is none)"
            )
    check_finite(state, f"'{path}'")
    checkpoint["path"] = str(path)
    return checkpoint


def check_finite(state: Dict[str, Any], source: str) -> None:
    """Checks that weights are finite.

    Args:
        state (Dict[str, Any]): The weights, by name.
        source (str): Their source, for the message.

    Raises:
        ValueError: If a weight is not.
    """
    for name, weight in tensors_of(state):
        if not bool(weight.isfinite().all()):
            raise ValueError(
                f"{source} must hold finite weights (got NaN or infinity in "
                f"'{name}'): {DIVERGED}"
            )


def tensors_of(state: Dict[str, Any]) -> Iterator[Tuple[str, Any]]:
    """Yields weights by name, including the extra state of modules, such as
    learned neighbors.
    """
    for name, value in state.items():
        if name.endswith("_extra_state") and isinstance(value, dict):
            yield from ((f"{name}.{part}", x) for part, x in value.items())
        else:
            yield name, value


def restore_model(
    checkpoint: Dict[str, Any],
    dataset: Dataset,
    model_cls: Optional[Type[RankingModel]] = None,
) -> RankingModel:
    r"""Restores the model of a checkpoint, in evaluation mode.

    Args:
        checkpoint (Dict[str, Any]): The result of :func:`read_checkpoint`.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set
            that the model was trained with.
        model_cls (Type[RankingModel], optional): The class of the model, for
            models that are neither in :mod:`tmfun_pyg.nn` nor in
            :mod:`tmfun_pyg.baselines`. (default: :obj:`None`)

    Raises:
        ValueError: If the data set or the :obj:`k` of its feature graphs
            differs from training, or if the checkpoint does not say how to
            build its model.
    """
    path, about = checkpoint["path"], checkpoint["recommender"]
    check_fingerprint(about["fingerprint"], dataset)
    if about["options"] is None:
        raise ValueError(
            f"The model of '{path}' must have been made by "
            f"{about['model']}.from_data() with options of plain values"
        )
    cls = _find_class(path, about["model"], model_cls)
    _check_options(path, cls, about["options"])
    try:
        model = cls.from_data(dataset[0], **about["options"])
    except ValueError:
        raise
    # Models raise various errors for the options of another one.
    except Exception as err:
        raise ValueError(
            f"The options of '{path}' must be those of {about['model']} "
            f"({' '.join(str(err).split())})"
        ) from err
    check_graph_k(about.get("graph_k"), model.graph_k)
    load_weights(checkpoint, model)
    model.fingerprint = about["fingerprint"]
    return model.eval()


def load_weights(checkpoint: Dict[str, Any], model: RankingModel) -> None:
    r"""Loads the weights of a checkpoint into a model.

    Args:
        checkpoint (Dict[str, Any]): The result of :func:`read_checkpoint`.
        model (RankingModel): A model of the same class and options.

    Raises:
        ValueError: If a weight is missing or unexpected, has another shape, or
            holds integers instead of floats or the reverse.
    """
    state = checkpoint["state_dict"]
    own = {k[len(PREFIX) :]: v for k, v in state.items() if _is_of_model(k)}
    other = [key for key in state if not _is_of_model(key)]
    try:
        if other:
            raise RuntimeError(f"Unexpected key(s): {other}")
        expected = dict(tensors_of(own))
        for name, weight in tensors_of(model.state_dict()):
            # Precisions may differ.
            found = expected.get(name, weight).dtype
            if found != weight.dtype and not (
                found.is_floating_point and weight.dtype.is_floating_point
            ):
                raise TypeError(f"'{name}' must not be of {found}")
        model.load_state_dict(own)
    except (AttributeError, RuntimeError, TypeError) as err:
        cause = " ".join(str(err).split())
        raise ValueError(
            f"The weights of '{checkpoint['path']}' must be those of the "
            f"{type(model).__name__} it describes ({cause})"
        ) from err


def check_fingerprint(expected: Optional[str], dataset: Dataset) -> None:
    r"""Checks that a data set is the one that a model was trained with.

    Args:
        expected (str, optional): The fingerprint in training, if known.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.

    Raises:
        ValueError: If it is a different one.
    """
    if expected is None or dataset.fingerprint == expected:
        return
    found = f"of the fingerprint {expected} (got {dataset.fingerprint})"
    if isinstance(dataset, MultimodalRecDataset) and dataset.num_added == 0:
        raise ValueError(
            f"'{dataset.raw_dir}' must hold the data set as it was in "
            f"training, {found}; if it has changed since, train again, and "
            f"prepare changed data under another name to keep both"
        )
    raise ValueError(
        f"The data set must be the one that the model was trained with, {found}"
    )


def _find_class(
    path: str, name: str, model_cls: Optional[Type[RankingModel]]
) -> Type[RankingModel]:
    if model_cls is None:
        # Never import by name from elsewhere: the file may be untrusted.
        for module in (tmfun_pyg.nn, tmfun_pyg.baselines):
            cls = getattr(module, name) if name in module.__all__ else None
            if isinstance(cls, type) and issubclass(cls, RankingModel):
                return cls
        raise ValueError(
            f"'{path}' holds a '{name}', which is not in tmfun_pyg: give its "
            f"class as 'model_cls'"
        )
    if model_cls.__name__ != name:
        raise ValueError(
            f"'{path}' holds a '{name}', not a '{model_cls.__name__}'"
        )
    return model_cls


def _check_options(
    path: str, cls: Type[RankingModel], options: Dict[str, Any]
) -> None:
    """Checks the types of options against those of their defaults."""
    for name, parameter in signature(cls).parameters.items():
        default = parameter.default
        value = options.get(name, default)
        if _is_one_of(value, get_args(parameter.annotation)):
            continue
        kinds = (int, float) if type(default) is float else type(default)
        if isinstance(default, (bool, int, float, str)) and (
            not isinstance(value, kinds)
            or isinstance(value, bool) != isinstance(default, bool)
        ):
            raise ValueError(
                f"The option '{name}' of {cls.__name__} must be of type "
                f"{type(default).__name__} in '{path}' (got {value!r})"
            )


def _is_one_of(value: Any, kinds: Sequence[Any]) -> bool:
    """Whether a value has a type of a Union, or is one of its literals."""
    return type(value) in kinds or any(
        value in get_args(kind) for kind in kinds if get_origin(kind) is Literal
    )


def _is_of_model(key: Any) -> bool:
    return isinstance(key, str) and key.startswith(PREFIX)


def _is_source(value: Any) -> bool:
    try:
        return value is None or bool(DatasetOptions(**value))
    except (TypeError, ValueError):
        return False


def _is_plain(value: Any) -> bool:
    """Whether a value can be read with weights_only=True."""
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))

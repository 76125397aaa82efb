from dataclasses import asdict
from typing import Any, Dict, NamedTuple, Optional, Type, Union

import torch
from lightning.fabric.plugins import TorchCheckpointIO

import tmfun_pyg.nn
from tmfun_pyg.datasets import MultimodalRecDataset, SyntheticMultimodal
from tmfun_pyg.nn import RankingModel
from tmfun_pyg.training.dataset_options import DatasetOptions
from tmfun_pyg.utils.files import atomic_write

Dataset = Union[MultimodalRecDataset, SyntheticMultimodal]
PREFIX = "model."  # Of the weights of a RecommenderModule.
PLAIN = (str, int, float, bool, type(None))


class LoadedCheckpoint(NamedTuple):
    r"""A model as it was saved, and its data set.

    Args:
        model (RankingModel): The model, bound to the data set, in evaluation
            mode.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
        epoch (int): The epoch it was saved after, from zero on.
        source (DatasetOptions, optional): Where the data set was read from.
    """

    model: RankingModel
    dataset: Dataset
    epoch: int
    source: Optional[DatasetOptions]


class AtomicCheckpointIO(TorchCheckpointIO):
    r"""Writes checkpoints whole or not at all: whatever happens meanwhile, a
    full disk or the end of the process, the last one stays readable. For the
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
        except (OSError, RuntimeError) as err:
            raise OSError(
                f"the checkpoint '{path}' cannot be written ({err}): expected "
                f"a writable folder with enough space"
            ) from err


def describe(
    model: RankingModel, dataset: Dataset, source: Optional[DatasetOptions]
) -> Dict[str, Any]:
    r"""Returns what a checkpoint holds beside weights, in plain values, for
    :func:`load_checkpoint`.

    Args:
        model (RankingModel): The model.
        dataset (MultimodalRecDataset or SyntheticMultimodal): The data set.
        source (DatasetOptions, optional): Where it was read from.
    """
    options = dict(model.options or {})
    known = model.options is not None and _is_plain(options)
    return {
        "model": type(model).__name__,
        "options": options if known else None,
        "fingerprint": dataset.fingerprint,
        "source": None if source is None else asdict(source),
    }


def load_checkpoint(
    path: Any,
    dataset: Optional[Dataset] = None,
    model_cls: Optional[Type[RankingModel]] = None,
) -> LoadedCheckpoint:
    r"""Loads a model from a checkpoint of
    :class:`~tmfun_pyg.training.RecommenderModule`, and its data set.

    Args:
        path (str): The checkpoint.
        dataset (MultimodalRecDataset or SyntheticMultimodal, optional): The
            data set, read from where it was in training if not given.
            (default: :obj:`None`)
        model_cls (Type[RankingModel], optional): The class of the model, for
            models that are not in :mod:`tmfun_pyg.nn`.
            (default: :obj:`None`)

    Raises:
        ValueError: If the file is not such a checkpoint, if it does not say
            where its data set is or how its model was made, or if the data
            set is another one than in training.
    """
    checkpoint = read_checkpoint(path)
    about = checkpoint["recommender"]
    source = about["source"]
    source = None if source is None else DatasetOptions(**source)
    if dataset is None:
        if source is None:
            raise ValueError(
                f"'{path}' does not say where its data set is: give 'dataset'"
            )
        dataset = source.load()
    if dataset.fingerprint != about["fingerprint"]:
        raise ValueError(
            f"'{path}' was made with a data set of the fingerprint "
            f"{about['fingerprint']}, found another one: {dataset.fingerprint}"
        )
    if about["options"] is None:
        raise ValueError(
            f"'{path}' does not say how its model was made: expected one made "
            f"by {about['model']}.from_data() with options of plain values"
        )
    data = dataset[0]
    model = _find_class(about["model"], model_cls, path)(
        num_users=data["user"].num_nodes,
        num_items=data["item"].num_nodes,
        **about["options"],
    )
    model.options = about["options"]
    model.load_state_dict(
        {
            key.removeprefix(PREFIX): value
            for key, value in checkpoint["state_dict"].items()
        }
    )
    model.eval()
    return LoadedCheckpoint(model, dataset, checkpoint["epoch"], source)


def read_checkpoint(path: Any) -> Dict[str, Any]:
    r"""Reads a checkpoint, and checks that it says what it belongs to.

    Args:
        path (str): The checkpoint.

    Raises:
        ValueError: If there is none, or if it is no such checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as err:
        raise ValueError(f"The checkpoint '{path}' does not exist") from err
    # What torch raises for bytes that are no checkpoint depends on the bytes.
    except Exception as err:
        raise ValueError(
            f"'{path}' cannot be read: found a damaged or foreign file, "
            f"expected a checkpoint ({type(err).__name__})"
        ) from err
    if not isinstance(checkpoint, dict) or "recommender" not in checkpoint:
        raise ValueError(
            f"'{path}' does not say what data set and model it belongs to: "
            f"expected a checkpoint of RecommenderModule(..., dataset=...)"
        )
    return checkpoint


def _find_class(
    name: str, model_cls: Optional[Type[RankingModel]], path: Any
) -> Type[RankingModel]:
    if model_cls is None:
        # Never imported by name from elsewhere: the file may be anyone's.
        model_cls = getattr(tmfun_pyg.nn, name, None)
        if name not in tmfun_pyg.nn.__all__ or model_cls is None:
            raise ValueError(
                f"'{path}' holds a '{name}', which is not in tmfun_pyg.nn: "
                f"give its class as 'model_cls'"
            )
    elif model_cls.__name__ != name:
        raise ValueError(
            f"'{path}' holds a '{name}', not a '{model_cls.__name__}'"
        )
    return model_cls


def _is_plain(value: Any) -> bool:
    """Whether a value can be read with weights_only=True."""
    if isinstance(value, dict):
        return all(_is_plain(part) for part in (*value, *value.values()))
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return isinstance(value, PLAIN)

import inspect
from typing import Any, Callable, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def takes_arguments_of(
    other: Callable[P, Any],
) -> Callable[[Callable[..., T]], Callable[P, T]]:
    r"""Gives a function the signature of the one that it passes all of its
    arguments to, for readers, the documentation and type checkers:

    .. code-block:: python

        @takes_arguments_of(chunks)
        def whole(*args, **kwargs):
            return concat(chunks(*args, **kwargs))

    Args:
        other (callable): The function that is called.
    """

    def with_arguments(function: Callable[..., T]) -> Callable[P, T]:
        returned = inspect.signature(function).return_annotation
        signature = inspect.signature(other)
        signature = signature.replace(return_annotation=returned)
        vars(function)["__signature__"] = signature
        return function

    return with_arguments

"""What may be given for a handler, a hook or a check: async functions of one argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any


def is_async(function: object) -> bool:
    """Whether to call it gives a coroutine: functions, partials, methods, async `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    # A class has the `__call__` of its objects, but to call it makes one of them.
    method = None if inspect.isclass(function) else getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)


def check_callable(
    name: str, function: Any, *arguments: str, keywords: Iterable[str] = ()
) -> None:
    """Refuse what cannot be called with these arguments.

    Args:
        name: What it is called in the message.
        function: What the application gave.
        *arguments: What it will be called with.
        keywords: The names of what it will be called with besides.

    Raises:
        TypeError: it cannot be called so.
    """
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {function!r}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some builtins have none
        return
    try:
        signature.bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        takes = " and ".join((*arguments, *keywords))
        raise TypeError(f"{name} must take {takes}; {function!r} does not: {error}") from None


def check_async(
    name: str, function: Any, *arguments: str, keywords: Iterable[str] = ()
) -> None:
    """Refuse what is not an async function of these arguments.

    Raises:
        TypeError: it is none; a plain function that returns an awaitable is none, either.
    """
    if not is_async(function):
        raise TypeError(f"{name} must be an async function, not {function!r}")
    check_callable(name, function, *arguments, keywords=keywords)

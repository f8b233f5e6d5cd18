from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from trio_wsendpoint.server.functions import check_async, check_callable


async def one(endpoint: object) -> None: ...
async def none() -> None: ...
async def two(first: object, second: object) -> None: ...
async def optional(first: object, second: object = None) -> None: ...
async def anything(*args: object, **kwargs: object) -> None: ...
async def keyword(first: object, *, second: object) -> None: ...
async def named(first: object, *, room: int) -> None: ...
def plain(endpoint: object) -> None: ...
def returns_one(endpoint: object) -> Awaitable[None]:
    return one(endpoint)


async def generator(endpoint: object) -> AsyncIterator[None]:
    yield


class Bound:
    async def method(self, endpoint: object) -> None: ...

    @classmethod
    async def of_class(cls, endpoint: object) -> None: ...

    @staticmethod
    async def static(endpoint: object) -> None: ...


class Called:
    async def __call__(self, endpoint: object) -> None: ...


class PlainCalled:
    def __call__(self, endpoint: object) -> None: ...


RIGHT: list[Callable[..., Any]] = [
    one,
    optional,
    anything,
    Bound().method,
    Bound.of_class,
    Bound.static,
    Called(),
    Called().__call__,
    functools.partial(two, "first"),
    functools.partial(two, second="second"),
    functools.partial(functools.partial(keyword, second=2)),
    functools.partial(Called()),
]


@pytest.mark.parametrize("function", RIGHT)
def test_an_async_function_of_one_argument_is_right(function: Callable[..., Any]) -> None:
    check_async("handler", function, "the endpoint")


@pytest.mark.parametrize(
    "function",
    [
        plain,
        returns_one,
        generator,
        PlainCalled(),
        functools.partial(plain),
        lambda endpoint: one(endpoint),
        "echo",
        None,
        Called,
    ],
    ids=repr,
)
def test_what_is_no_async_function_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match=r"^handler must be an async function, not "):
        check_async("handler", function, "the endpoint")


@pytest.mark.parametrize(
    "function", [none, two, keyword, Bound.method, functools.partial(one, 1)]
)
def test_a_function_of_another_number_of_arguments_is_refused(
    function: Callable[..., Any],
) -> None:
    with pytest.raises(TypeError, match=r"^handler must take the endpoint; .* does not: "):
        check_async("handler", function, "the endpoint")


def test_keywords_must_be_taken_too() -> None:
    check_async("page", named, "the request", keywords=["room"])
    check_async("page", anything, "the request", keywords=["room"])
    with pytest.raises(TypeError, match=r"^page must take the request and room; "):
        check_async("page", one, "the request", keywords=["room"])
    with pytest.raises(TypeError, match=r"^page must take the request; "):
        check_async("page", named, "the request")


def test_a_function_that_tells_no_signature_is_taken_at_its_word() -> None:
    check_callable("check", max, "a", "b")
    with pytest.raises(TypeError, match=r"^check must be a function, not 5$"):
        check_callable("check", 5, "a")

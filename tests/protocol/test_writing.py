from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from tests.protocol.wire import twins
from trio_wsendpoint.protocol import descriptors

WriteEach: TypeAlias = Callable[[list[int], bytes], list[int]]


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(5)]
    for pair in made:
        for each in pair:
            each.setblocking(False)
    yield made
    for pair in made:
        for each in pair:
            each.close()


@twins("descriptors", "write_each")
def test_each_gets_all_of_it(
    write_each: WriteEach, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    results = write_each([ours.fileno() for ours, _ in pairs], b"tick")
    assert results == [4] * 5
    assert [theirs.recv(10) for _, theirs in pairs] == [b"tick"] * 5
    assert write_each([], b"tick") == []


@twins("descriptors", "write_each")
def test_a_full_one_takes_a_part_or_nothing(
    write_each: WriteEach, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    descriptors = [ours.fileno() for ours, _ in pairs[:2]]
    data = bytes(2**24)
    written, again = write_each(descriptors[:1], data)[0], write_each(descriptors, b"x" * 2**20)
    assert 0 < written < len(data)
    assert again[0] == 0
    assert 0 < again[1] <= 2**20


@twins("descriptors", "write_each")
def test_a_broken_one_gives_its_error_and_stops_no_other(
    write_each: WriteEach, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    pairs[1][1].close()
    closed = os.dup(0)
    os.close(closed)
    descriptors = [pairs[0][0].fileno(), pairs[1][0].fileno(), closed, pairs[2][0].fileno()]
    assert write_each(descriptors, b"tick") == [4, -errno.EPIPE, -errno.EBADF, 4]


@twins("descriptors", "write_each")
@pytest.mark.parametrize("arguments", [(["one"], b"x"), ([1], "x"), ([0.5], b"")])
def test_other_types_are_refused(write_each: WriteEach, arguments: Any) -> None:
    with pytest.raises(TypeError):
        write_each(*arguments)


def test_an_interrupted_write_has_taken_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise InterruptedError

    monkeypatch.setattr(os, "write", write)
    assert descriptors.write_each([1], b"tick") == [0]

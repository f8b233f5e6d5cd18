from __future__ import annotations

import math

import attrs
import pytest

from tests.bench.hub.model import MILLION, Costs, Rooms, Service, first_to_end, spread, use

COSTS = Costs(
    publish=5e-6,
    receive=10e-6,
    deliver=10e-6,
    redis_publish=2e-6,
    redis_fan_out=1e-6,
    connection=12_000,
    process=30e6,
)


def service(members: int, rate: float = 1.0, **options: int) -> Service:
    return Service("a test", (Rooms(1000, members, rate, 100),), **options)


@pytest.mark.parametrize("members", [1, 2, 50, 1000])
def test_members_are_spread_as_chance_has_it(members: int) -> None:
    ((_, reached),) = spread(service(members))
    processes = 200
    expected = processes * (1 - (1 - 1 / processes) ** members)
    assert reached == pytest.approx(expected, rel=0.02)


def test_all_but_memory_grows_with_the_messages() -> None:
    slow, quick = use(service(50), COSTS), use(service(50, rate=3.0), COSTS)
    for name in slow:
        assert quick[name] == pytest.approx(slow[name] * (1 if "memory" in name else 3))


def test_a_message_for_one_member_costs_what_its_steps_cost() -> None:
    used = use(service(1), COSTS)
    assert used["CPU of Redis"] == pytest.approx(1000 * 3e-6)
    assert used["CPU of the processes"] == pytest.approx(1000 * 25e-6 / 200)
    assert used["network of Redis"] == pytest.approx(1000 * 2 * 200 / 1.25e9)


def test_shards_part_the_work_of_redis_alone() -> None:
    one, many = use(service(50), COSTS), use(service(50, shards=8), COSTS)
    for name in one:
        part = 8 if "Redis" in name else 1
        assert many[name] == pytest.approx(one[name] / part)


def test_the_first_resource_to_end_is_the_one_that_is_used_most() -> None:
    name, times = first_to_end(service(1), COSTS)
    assert name == "CPU of Redis"
    at_the_end = attrs.evolve(service(1), rooms=(Rooms(1000, 1, times, 100),))
    assert max(use(at_the_end, COSTS).values()) == pytest.approx(1)


@pytest.mark.parametrize("each", MILLION, ids=lambda each: each.name)
def test_a_million_is_a_million(each: Service) -> None:
    assert sum(rooms.count * rooms.members for rooms in each.rooms) == 1_000_000
    assert each.machines == 50
    assert all(math.isfinite(part) for part in use(each, COSTS).values())

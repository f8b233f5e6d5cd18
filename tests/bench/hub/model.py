"""What a service of a given size would need, from what was measured on one machine.

It draws at random which process each member of a room is connected to, counts to how many
processes and members each message goes, and multiplies by what one of each was measured to
cost. It knows nothing of queues and bursts: it finds what is over its limit on average, and
that is where a service ends in any case.
"""

from __future__ import annotations

import functools
import random
from typing import Final

import attrs

MEMBERS_DRAWN: Final = 100_000
"""Members of each kind of room that are drawn, at least one room of them; more would change
nothing but the noise."""
HEAD: Final = 100
"""Bytes around a message on its way to a process: the envelope, Redis' protocol, TCP and IP."""


@attrs.frozen
class Costs:
    """What was measured.

    Attributes:
        publish: Seconds of CPU of a process for each message that it publishes.
        receive: Seconds of CPU of a process for each message that Redis sends it.
        deliver: Seconds of CPU of a process for each member that it gives a message.
        redis_publish: Seconds of CPU of Redis for each message.
        redis_fan_out: Seconds of CPU of Redis for each process that it sends one.
        connection: Bytes of memory for each connection, in its room.
        process: Bytes of memory of a process without connections.
    """

    publish: float
    receive: float
    deliver: float
    redis_publish: float
    redis_fan_out: float
    connection: float
    process: float


@attrs.frozen
class Rooms:
    """Rooms of one kind.

    Attributes:
        count: How many.
        members: How many are in each.
        rate: Messages a second that are published in each.
        size: Bytes of a message.
    """

    count: int
    members: int
    rate: float
    size: int


@attrs.frozen
class Service:
    """What is to be served, and by what.

    Attributes:
        name: What it is called.
        rooms: Its rooms; each connection is in one.
        machines: How many there are, besides those of Redis.
        cores: Of each, with one process on each.
        memory: Bytes of each.
        network: Bytes a second of each, Redis' own included.
        shards: Redis servers that the rooms are spread over.
    """

    name: str
    rooms: tuple[Rooms, ...]
    machines: int = 50
    cores: int = 4
    memory: float = 16 * 2**30
    network: float = 1.25e9
    shards: int = 1


@functools.cache
def spread(service: Service, seed: int = 1) -> tuple[tuple[Rooms, float], ...]:
    """To how many processes a message goes, on average, for each kind of room."""
    drawn = random.Random(seed)
    processes = service.machines * service.cores
    found = []
    for rooms in service.rooms:
        reached = 0
        count = max(1, MEMBERS_DRAWN // rooms.members)
        for _ in range(count):
            reached += len({drawn.randrange(processes) for _ in range(rooms.members)})
        found.append((rooms, reached / count))
    return tuple(found)


def use(service: Service, costs: Costs) -> dict[str, float]:
    """How much of each resource is used, as a part of what there is; over 1 is too much."""
    processes = service.machines * service.cores
    messages = arrivals = deliveries = to_redis = from_redis = to_members = 0.0
    connections = 0
    for rooms, reached in spread(service):
        rate = rooms.count * rooms.rate
        connections += rooms.count * rooms.members
        messages += rate
        arrivals += rate * reached
        deliveries += rate * rooms.members
        to_redis += rate * (rooms.size + HEAD)
        from_redis += rate * reached * (rooms.size + HEAD)
        to_members += rate * rooms.members * (rooms.size + HEAD)
    cpu = messages * costs.publish + arrivals * costs.receive + deliveries * costs.deliver
    redis_cpu = messages * costs.redis_publish + arrivals * costs.redis_fan_out
    memory = connections * costs.connection / service.machines + service.cores * costs.process
    return {
        "CPU of the processes": cpu / processes,
        "CPU of Redis": redis_cpu / service.shards,
        "network of Redis": (to_redis + from_redis) / service.shards / service.network,
        "network of the machines": (from_redis + to_members)
        / service.machines
        / service.network,
        "memory of the machines": memory / service.memory,
    }


def first_to_end(service: Service, costs: Costs) -> tuple[str, float]:
    """Which resource ends first, and how many times the messages it would stand."""
    used = use(service, costs)
    # Memory does not grow with the messages, and is a matter of machines alone.
    name, part = max(
        ((name, part) for name, part in used.items() if "memory" not in name),
        key=lambda each: each[1],
    )
    return name, 1 / part


MILLION: Final = (
    Service(
        "a million in chats: 20,000 rooms of 50, a message every 10 s in each",
        (Rooms(20_000, 50, 0.1, 200),),
    ),
    Service(
        "a million at one event: 1 room of 1,000,000, a message a second",
        (Rooms(1, 1_000_000, 1.0, 200),),
    ),
    Service(
        "a million with 1,000 topics: rooms of 1,000, 5 messages a second in each",
        (Rooms(1_000, 1_000, 5.0, 200),),
    ),
    Service(
        "the same with 8 Redis servers, rooms by hash",
        (Rooms(1_000, 1_000, 5.0, 200),),
        shards=8,
    ),
    Service(
        "a million two by two: 500,000 rooms of 2, a message every 2 s in each",
        (Rooms(500_000, 2, 0.5, 200),),
    ),
    Service(
        "the same with 8 Redis servers, rooms by hash",
        (Rooms(500_000, 2, 0.5, 200),),
        shards=8,
    ),
)

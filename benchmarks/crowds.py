"""Count what a crowd costs while nothing happens, in memory and in virtual time, and print a Markdown table.

    python -m benchmarks.crowds [--quick] [--seconds S]

Three replicas and their sessions as they are shipped are wired together without sockets, on a clock that is
only a number: a crowd of sessions that wait for one name, which one more holds; a crowd of sessions that each
watch it; and one session that watches a prefix with many names, each of them held. They settle for half a
minute; then messages are counted, in both directions and at all nodes, and the CPU time of this process, for
as many virtual seconds as asked: all but renewals, and the greetings of nodes. The messages are the same in
every run. Last, how many messages one turn gives at most where a name changes that a crowd watches.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from time import process_time

import attrs

from benchmarks.in_memory import World
from benchmarks.scaling import table
from paxlock.core.messages import Peer
from paxlock.core.session.session import Session

SETTLING_S = 30.0
PREFIX = "name/"
NOT_OF_A_CROWD = {"Renew", "Renewed", "Greet", "Greeted"}


class CountingWorld(World):
    """A world that counts which messages it carries."""

    def __init__(self) -> None:
        super().__init__()
        self.carried: Counter[str] = Counter()
        self.longest = 0  #: how many messages one turn of one machine gave at most

    def carry_out(self, peer: Peer) -> None:
        before = len(self._under_way)
        super().carry_out(peer)
        self.longest = max(self.longest, len(self._under_way) - before)
        self.carried.update(type(message).__name__ for *_, message in islice(self._under_way, before, None))


@attrs.frozen
class Cost:
    """What a crowd costs in a second, while nothing happens."""

    crowd: str
    count: int
    messages: float
    cores: float
    kinds: tuple[tuple[str, int], ...]

    @property
    def row(self) -> tuple[object, ...]:
        most = ", ".join(f"{kind} {count}" for kind, count in self.kinds)
        each = self.messages / self.count
        return (
            f"{self.count:,} {self.crowd}",
            f"{self.messages:,.0f}",
            f"{each:.2f}",
            f"{self.cores:.3f}",
            most,
        )


def waiters(world: World, count: int) -> None:
    """So many sessions wait for a name that one more holds."""
    for number in range(1, count + 2):
        world.acquire(world.join(number), "wanted")


def watchers(world: World, count: int) -> None:
    """So many sessions watch a name that one more holds."""
    world.acquire(world.join(1), "wanted")
    for number in range(2, count + 2):
        watch(world, world.join(number), "wanted", prefix=False)


def names(world: World, count: int) -> None:
    """One session watches so many names by their prefix. Another one holds them, all by itself."""
    holder = world.join(1)
    for number in range(count):
        world.acquire(holder, f"{PREFIX}{number:06}")
    watch(world, world.join(2), PREFIX, prefix=True)


def watch(world: World, by: Session, pattern: str, *, prefix: bool) -> None:
    by.watch(pattern, prefix, world.now)
    world.carry_out(by.session)
    world.settle()


def cost(crowd: str, gather: Callable[[World, int], None], count: int, seconds: float) -> Cost:
    world = CountingWorld()
    gather(world, count)
    world.run(SETTLING_S)
    world.carried.clear()
    begin = process_time()
    world.run(seconds)
    cores = (process_time() - begin) / seconds
    kinds = Counter({kind: number for kind, number in world.carried.items() if kind not in NOT_OF_A_CROWD})
    return Cost(crowd, count, kinds.total() / seconds, cores, tuple(kinds.most_common(4)))


def costs(waiting: int, watching: int, named: int, seconds: float) -> Iterable[Cost]:
    yield cost("sessions wait for one name", waiters, waiting, seconds)
    yield cost("sessions watch one name", watchers, watching, seconds)
    yield cost("names watched by one session, by prefix", names, named, seconds)


def longest_turn(count: int) -> int:
    """How many messages a turn gives at most where a name changes that so many watch."""
    world = CountingWorld()
    watchers(world, count)
    world.run(SETTLING_S)
    world.longest = 0
    session, granted = world.granted[0]
    world.release(world.sessions[session], granted.ticket)
    world.run(1.0)
    return world.longest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowds", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of each crowd")
    parser.add_argument("--seconds", type=float, default=40.0, metavar="S", help="virtual; 40 by default")
    arguments = parser.parse_args()
    part = 10 if arguments.quick else 1
    rows = (one.row for one in costs(1_000 // part, 1_000 // part, 10_000 // part, arguments.seconds))
    head = ("crowd", "messages/s", "each", "cores", f"most of them, in {arguments.seconds:g} s")
    print(table("A crowd, while nothing happens", head, rows))
    most = longest_turn(1_000 // part)
    print(f"{1_000 // part:,} sessions watch a name that changes: {most} messages in one turn at most")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()

"""The figures that paxlock hopes for, and whether a run met them. Computed, never asserted."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from benchmarks.figures import over_rounds, ratio, worst_of_rounds
from benchmarks.registry import OURS
from benchmarks.results import Results
from benchmarks.scenarios.pairs import FLOOR

EMBEDDED = "paxlock-embedded"
ASYNCIO, BLOCKING = "paxlock-asyncio", "paxlock-blocking"
KIB = 1024.0
MIB = 1024.0 * 1024.0

Show = Callable[[float], str]


@attrs.frozen
class Bar:
    """One hope: ``figure`` of the results shall be at most (or at least) ``bound``."""

    scenario: str
    what: str
    figure: Callable[[Results], float]
    bound: float
    at_least: bool = False
    strict: bool = False
    show: Show = "{:.2f}".format

    def judge(self, results: Results) -> tuple[float, bool | None]:
        """What was found, and whether it met the bar; None where it was not measured."""
        found = self.figure(results)
        if math.isnan(found):
            return found, None
        if self.at_least:
            return found, found > self.bound if self.strict else found >= self.bound
        return found, found < self.bound if self.strict else found <= self.bound

    @property
    def words(self) -> str:
        sign = (">" if self.strict else "at least") if self.at_least else ("<" if self.strict else "at most")
        return f"{sign} {self.show(self.bound)}"


def _times(scenario: str, key: str, other: str, other_key: str = "") -> Callable[[Results], float]:
    """Ours divided by another's figure of the same rounds."""

    def figure(results: Results) -> float:
        ours, theirs = results.of(scenario, OURS), results.of(scenario, other)
        return ratio(ours, theirs, key, other_key) if len(ours) == len(theirs) else math.nan

    return figure


def _face(scenario: str, key: str, face: str) -> Callable[[Results], float]:
    """A face's figure divided by that of trio in the same rounds."""

    def figure(results: Results) -> float:
        theirs, ours = results.of(scenario, face), results.of(scenario, OURS)
        return ratio(theirs, ours, key) if len(ours) == len(theirs) else math.nan

    return figure


def _ours(scenario: str, key: str, of: str = OURS) -> Callable[[Results], float]:
    return lambda results: over_rounds(results.of(scenario, of), key)


def _worst(scenario: str, key: str) -> Callable[[Results], float]:
    return lambda results: worst_of_rounds(results.of(scenario, OURS), key)


def _us(value: float) -> str:
    return f"{value * 1e6:.0f} us"


def _ms(value: float) -> str:
    return f"{value * 1e3:.1f} ms"


def _cores(value: float) -> str:
    return f"{value:.3f} cores"


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _bytes(value: float) -> str:
    return f"{value:.0f} B"


def _mib(value: float) -> str:
    return f"{value / MIB:.1f} MiB"


def _times_shown(value: float) -> str:
    return f"{value:.2f} x"


BARS: tuple[Bar, ...] = (
    Bar("A", "acquire p50 : floor", _times("A", "acquire_p50", FLOOR), 1.65, show=_times_shown),
    Bar("A", "a pair, p50 : etcd's", _times("A", "pair_p50", "etcd"), 0.38, show=_times_shown),
    Bar("A", "a pair, p50 : Redlock's", _times("A", "pair_p50", "redlock"), 1.15, show=_times_shown),
    Bar("A", "a pair in asyncio, p50 : trio's", _face("A", "pair_p50", ASYNCIO), 1.2, show=_times_shown),
    Bar("A", "a pair in blocking, p50 : trio's", _face("A", "pair_p50", BLOCKING), 1.5, show=_times_shown),
    Bar("B", "pairs/s of 64 workers : etcd's", _times("B", "per_s_64", "etcd"), 3.0, True, show=_times_shown),
    Bar(
        "B",
        "pairs/s of 64 workers : one Redis's",
        _times("B", "per_s_64", "redis"),
        1.2,
        True,
        True,
        show=_times_shown,
    ),
    Bar("B", "CPU for a pair of 64 workers", _ours("B", "cpu_64"), 320e-6, strict=True, show=_us),
    Bar(
        "B",
        "CPU for a pair of 64 embedded workers",
        _ours("B", "cpu_64", EMBEDDED),
        320e-6,
        strict=True,
        show=_us,
    ),
    Bar("C", "gap p50 : etcd's", _times("C", "gap_p50_0", "etcd"), 0.42, show=_times_shown),
    Bar("C", "hand-offs/s : ZooKeeper's", _times("C", "per_s_0", "zookeeper"), 4.0, True, show=_times_shown),
    Bar("C", "to the longest waiter", _ours("C", "longest_waiter_0"), 0.95, True, show=_percent),
    Bar("C", "most : fewest of a client", _ours("C", "evenness_0"), 1.1, strict=True),
    Bar("C", "two holders at once", _worst("C", "overlaps_0"), 0.0, show="{:.0f}".format),
    Bar("D", "longest takeover, ttl 2 s", _worst("D", "longest"), 2.05, show=_ms),
    Bar("E", "longest gap", _worst("E", "gap"), 0.012, show=_ms),
    Bar("E", "failed calls", _worst("E", "failed"), 0.0, show="{:.0f}".format),
    Bar(
        "F",
        "server CPU of 1,000 leases : ZooKeeper's",
        _times("F", "cores_1000", "zookeeper"),
        2.0,
        strict=True,
        show=_times_shown,
    ),
    Bar("F", "server CPU of 10,000 leases", _ours("F", "cores_10000"), 0.05, strict=True, show=_cores),
    Bar("F", "lost of 10,000 leases", _worst("F", "lost_10000"), 0.0, show="{:.0f}".format),
    Bar("F", "memory per lease and node", _ours("F", "per_lease_10000"), KIB, show=_bytes),
    Bar("F", "three nodes with 1,000 leases", _ours("F", "memory_1000"), 110 * MIB, strict=True, show=_mib),
    Bar(
        "G",
        "told of a release, p50 : etcd's",
        _times("G", "released_p50", "etcd"),
        0.5,
        strict=True,
        show=_times_shown,
    ),
    Bar("H", "cold start to the first lock", _ours("H", "first_lock"), 0.9, strict=True, show=_ms),
)

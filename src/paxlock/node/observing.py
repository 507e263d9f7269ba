"""What a running node sees of itself and of its peers, told to ``logging``; what is worth a line is decided
by observe/noticing.py.

The nodes of an idle cell have nothing to say to each other. So that one that died is seen before it is
needed, each node asks each other once a second how it is, by the Hello that clients use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from paxlock.core.messages import Hello, NodeMode
from paxlock.core.node.notices import HandleRefused, PeerAnswered
from paxlock.core.node.replica import Replica
from paxlock.observe.counting import flat
from paxlock.observe.logs import log
from paxlock.observe.noticing import Level, LogLine, Observer
from paxlock.observe.statistics import NodeStatistics
from paxlock.wire.transport import format_address

if TYPE_CHECKING:
    from paxlock.host.clock import Clock
    from paxlock.runtime.driver import Driver
    from paxlock.runtime.thread_driver import ThreadDriver
    from paxlock.wire.transport import Address

__all__ = ["PROBE_S", "Observing"]

PROBE_S = 1.0
LOGGER = logging.getLogger("paxlock.node")


class Observing:
    """The eyes of one node. ``report`` gets the sentences that a program asked for, as it always did. What
    was seen is kept under the driver's lock, as datagrams may be refused in another thread.
    """

    def __init__(
        self,
        replica: Replica,
        driver: Driver | ThreadDriver,
        clock: Clock,
        *,
        report: Callable[[str], None],
        probes: bool,
    ) -> None:
        settings = replica.settings
        self.observer = Observer(settings.node_id, settings.configuration.nodes, clock.now())
        self._replica = replica
        self._driver = driver
        self._clock = clock
        self._report = report
        self._probes = probes
        self._request = 0
        driver.refused = self._refused
        self.data_folder_gone = False
        self.state_not_kept = False
        self._since = clock.now()
        # Asked for within a turn, so the lock is had already.
        replica.seeing.source = lambda now: flat(self._statistics())

    # What is said.

    def say(self, line: LogLine) -> None:
        """Say what the node itself has to say: to the log, and to ``report``."""
        log(LOGGER, line, self.observer.node_id)
        self._report(f"WARNING: {line.sentence}" if line.level >= Level.WARNING else line.sentence)

    def _log(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            log(LOGGER, line, self.observer.node_id)

    def starts(self, address: Address, warnings: Iterable[LogLine] = ()) -> None:
        """The node's socket is bound and its record read. The ``warnings`` are for the log alone."""
        incarnation = self._replica.record.incarnation
        where = format_address(address)
        sentence = f"node {self.observer.node_id} starts at {where}: incarnation {incarnation}"
        self._log([LogLine(Level.INFO, "start", sentence, {"address": where, "incarnation": incarnation})])
        self._log(warnings)

    def stops(self, *, clean: bool, served: bool) -> None:
        """Nothing is answered any more, and what is to be remembered is on the disk where the stop is
        ``clean``; what is left goes on without this node.
        """
        left = self._replica.left()
        sentence = (
            f"node {self.observer.node_id} stops; left here: leases {left.leases}, waiters {left.waiters}"
        )
        if not clean:
            why = "its memory could not be written" if served else "it did not serve"
            sentence += f"; {why}, so its next start is as after a crash"
        fields = {"leases": left.leases, "waiters": left.waiters, "clean": clean}
        self._log([LogLine(Level.INFO, "stop", sentence, fields)])

    # What is seen.

    def changed_mode(self, mode: NodeMode) -> None:
        with self._driver.lock:
            lines = self.observer.changed_mode(mode, self._clock.now())
        self._log(lines)

    def answered(self, notice: PeerAnswered) -> None:
        """Another node has said how it is."""
        with self._driver.lock:
            lines = self.observer.answered(notice.node_id, notice.request, notice.mode, self._clock.now())
        self._log(lines)

    def refused_handle(self, notice: HandleRefused) -> None:
        """Somebody has shown a wrong secret."""
        with self._driver.lock:
            lines = self.observer.refused_handle(notice.session, self._clock.now())
        self._log(lines)

    def wrote(self, since: float) -> None:
        """A write that began at ``since`` is durable."""
        now = self._clock.now()
        with self._driver.lock:
            lines = self.observer.wrote(now - since, now)
        self._log(lines)

    def _refused(self, reason: str, address: Address) -> None:
        # Within a turn, so the lock is had already.
        self._log(self.observer.refused(reason, address[0], self._clock.now()))

    async def run(self) -> None:
        """Once a second ask the peers, and look whether the process runs in time."""
        if not self._probes:
            await trio.sleep_forever()
        due = self._clock.now()
        while True:
            self._ask()
            due += PROBE_S
            await trio.sleep(max(0.0, due - self._clock.now()))
            now = self._clock.now()
            late = max(0.0, now - due)
            with self._driver.lock:
                lines = self.observer.tick(now, late=late, dropped=self._dropped())
            self._log(lines)
            due = max(due, now - PROBE_S)

    def _ask(self) -> None:
        driver = self._driver
        if driver.inherited:
            return
        self._request += 1
        with driver.lock:
            for peer in self._replica.settings.others:
                self.observer.asked(peer, self._request, self._clock.now())
                driver.endpoint.queue(peer, Hello(self._request))
        driver.poke()

    def _dropped(self) -> int:
        counts = self._driver.endpoint.statistics()
        dropped = sum(number for what, number in counts.items() if what.startswith("dropped_"))
        return dropped + self._driver.transport.statistics().get("kernel_drops", 0)

    def statistics(self) -> NodeStatistics:
        """Frozen counters."""
        with self._driver.lock:
            return self._statistics()

    def _statistics(self) -> NodeStatistics:
        observer, replica, driver = self.observer, self._replica, self._driver
        counts = replica.statistics()
        return NodeStatistics(
            node_id=observer.node_id,
            up_seconds=self._clock.now() - self._since,
            incarnation=replica.record.incarnation,
            mode=replica.mode,
            sits_out_seconds=replica.sits_out(self._clock.now()),
            names=counts.names,
            cell_nodes=observer.nodes,
            cell_quorum_nodes=observer.needed,
            cell_serving_nodes=observer.serving,
            quorum=observer.quorum,
            max_ttl_seconds=replica.settings.configuration.max_ttl,
            peers=observer.peers,
            messages=counts.messages,
            endpoint=driver.endpoint.statistics(),
            transport=driver.transport.statistics(),
            record_writes=observer.writes,
            record_write_seconds=observer.write_seconds,
            record_write_seconds_max=observer.longest_write,
            record_slow_writes=observer.slow_writes,
            data_folder_gone=self.data_folder_gone,
            state_not_kept=self.state_not_kept,
            late_turns=observer.late_turns,
            late_seconds_max=observer.longest_late,
            floods=observer.floods,
        )

"""Bugs planted in the shell: when it reads the clock, and in which order it writes and tells (protocol.md
sections 2 and 7). The simulator has a shell of its own: tests of the shipped one catch them.
"""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_SHELL"]

IN_SHELL: tuple[Mutation, ...] = (
    Mutation(
        "clock-read-before-the-datagrams",
        "section 2: the clock is read once for all that has come, before it is taken from the socket",
        (
            Edit(
                "paxlock.host.turn", "Turn.drain", "for _ in", "self._then = self.clock.now()\n    for _ in"
            ),
            Edit("paxlock.host.turn", "Turn.feed", "now = self.clock.now()", "now = self._then"),
        ),
        test="tests/shell/test_driver.py::test_a_datagram_is_judged_by_a_time_read_after_it_came",
    ),
    Mutation(
        "durable-before-written",
        "section 7: the machine is told that its record is on the disk before it is written",
        (
            Edit(
                "paxlock.node.server",
                "Service.write",
                "await _in_thread(self._store",
                "self.replica.persisted(record, self._clock.now())\n            "
                "self.driver.poke()\n            await _in_thread(self._store",
            ),
        ),
        test="tests/shell/test_driver.py"
        "::test_no_term_above_the_ceiling_on_the_disk_is_used_while_a_higher_one_is_being_written",
    ),
)

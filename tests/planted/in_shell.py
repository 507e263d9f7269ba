"""Bugs planted in the shell: when it reads the clock, and in which order it writes and tells (protocol.md
sections 2 and 7). The simulator has a shell of its own: tests of the shipped one catch them.
"""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_SHELL"]

THREAD = "paxlock.runtime.thread_driver"
OF_THREAD = "tests/shell/test_thread_driver.py"

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
    Mutation(
        "sent-by-the-thread-before-it-is-synced",
        "section 7, synchronous mode: the thread of a node sends before what follows is on the disk",
        (Edit(THREAD, "ThreadDriver._turn", "self._sync()", "pass"),),
        test=f"{OF_THREAD}::test_in_synchronous_mode_it_is_on_the_disk_before_and_the_lock_is_free_meanwhile",
    ),
    Mutation(
        "answered-after-the-end",
        "section 7: the thread of a node answers after the moment of its clean stop",
        (Edit(THREAD, "ThreadDriver._turn", "if self._over:", "if False:"),),
        test=f"{OF_THREAD}::test_what_comes_with_the_end_is_not_answered",
    ),
    Mutation(
        "stopped-cleanly-after-a-failed-turn",
        "section 7: a node stops cleanly though the last turn of its thread could not be kept",
        (Edit(THREAD, "ThreadDriver.run", "raise self._trouble", "pass"),),
        test=f"{OF_THREAD}::test_an_error_of_the_last_turn_comes_out_too",
    ),
    Mutation(
        "touched-without-the-lock",
        "core/effects.py: a datagram is handled while another thread has the machine",
        (
            Edit(
                THREAD,
                "ThreadDriver._turn",
                "with self.lock:\n        if self._over",
                "if True:\n        if self._over",
            ),
        ),
        test=f"{OF_THREAD}::test_what_comes_is_kept_then_answered_by_the_thread_and_told_in_the_loop",
    ),
)

"""Bugs planted in the last wills of killed holders (protocol.md section 11)."""

from __future__ import annotations

from tests.planted.figures import WILLS
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_WILLS"]

DETACHED = {**WILLS, "detached": 0.7, "daemons": 0.0}

IN_WILLS: tuple[Mutation, ...] = (
    Mutation(
        "will-on-the-channel-alone",
        "section 11: the will is sent at the end of the channel, though the process may live",
        (
            Edit(
                "paxlock.host.last_will",
                "LastWill.due",
                "if not (self.process_dead and self.pipe_ended):",
                "if not self.pipe_ended:",
            ),
        ),
        changes=WILLS,
    ),
    Mutation(
        "will-while-a-fork-lives",
        "section 11: the will is sent once the process is dead, whatever its forks do",
        (
            Edit(
                "paxlock.host.last_will",
                "LastWill.due",
                "if not (self.process_dead and self.pipe_ended):",
                "if not self.process_dead:",
            ),
        ),
        seed=3,
        changes={**WILLS, "forks": 6.0, "daemons": 0.0},
    ),
    Mutation(
        "will-not-withdrawn",
        "section 11: a lease that is detached stays in the will",
        (
            Edit(
                "paxlock.wire.wills",
                "Wills.withdraw",
                "self.drop(ticket)",
                "return",
            ),
        ),
        changes=DETACHED,
    ),
    Mutation(
        "will-withdrawn-unheard",
        "section 11: a handle is shown before the guardian has said that the lease is out of the will",
        (Edit("paxlock.wire.wills", "Wills.withdraw", "self._guardian.settle()", "pass"),),
        seed=2,
        changes=DETACHED,
    ),
    Mutation(
        "will-of-all-the-session",
        "section 11: the will releases whatever the session has ever held",
        (Edit("paxlock.wire.wills", "Wills.drop", "del self._pages[at].held[ticket]", "pass"),),
        changes=DETACHED,
    ),
    Mutation(
        "will-lost-with-the-reset",
        "section 11: the guardian takes the reset of its channel for the end of what was deposited",
        (
            Edit(
                "paxlock.host.last_will",
                "Vigil._hear",
                "except (BlockingIOError, ConnectionResetError):",
                "except BlockingIOError:",
            ),
        ),
        test="tests/wills/test_vigil.py::"
        "test_a_guardian_that_was_not_let_run_before_the_death_hears_all_that_was_deposited",
    ),
    Mutation(
        "will-kept-for-a-lost-address",
        "section 11: what was deposited for a node that has no address any more stays",
        (
            Edit(
                "paxlock.wire.wills",
                "Wills.settle_turn",
                "self._places = nowhere | self._known",
                "self._places = self._known",
            ),
        ),
        test="tests/wills/test_deposits.py::test_at_a_node_whose_address_is_lost_no_handle_is_undone",
    ),
    Mutation(
        "will-numbers-used-twice",
        "section 11: two datagrams of a will are sealed under one number",
        (Edit("paxlock.wire.wills", "Wills._deposit", "self._number += 1", "pass"),),
        changes={**WILLS, "forks": 0.5},
    ),
    Mutation(
        "will-while-the-command-lives",
        "section 11: the supervisor of `paxlock run` sends the will while the command's processes live",
        (
            Edit(
                "paxlock.cli.supervisor",
                "Supervisor.may_bequeath",
                "return self.child_ended and not self.untouchable and HAS_PROC and not self.survivors()",
                "return True",
            ),
        ),
        test="tests/wills/test_supervisor_will.py::test_nothing_is_sent_while_the_command_or_its_kin_live",
    ),
)

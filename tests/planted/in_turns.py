"""Bugs planted in what stands around the machines: the order of a turn, forks, handles (core/effects.py)."""

from __future__ import annotations

from tests.planted.figures import CALM
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_TURNS"]

IN_TURNS: tuple[Mutation, ...] = (
    Mutation(
        "sealed-in-the-child",
        "section 1: the child of a fork speaks with its parent's session and numbers",
        (Edit("paxlock.forks", "Life.forked", "self._over = True", "pass"),),
        changes={**CALM, "forks": 10.0, "hold_max": 0.3},
    ),
    Mutation(
        "sealed-behind-the-hook",
        "section 1: a fork that passes by Python's hooks is not noticed",
        (Edit("paxlock.forks", "same_process", "if os.getpid() == _process:", "if True:"),),
        test="tests/unit/test_forks.py::test_an_endpoint_seals_nothing_in_the_child",
    ),
    Mutation(
        "written-in-the-child",
        "section 7: the child of a fork writes into the folder of its parent's node",
        (Edit("paxlock.store.folder", "Store.forked", "self._inherited = True", "return"),),
        test="tests/unit/test_forks.py::test_a_store_reads_and_writes_nothing_in_the_child",
    ),
    Mutation(
        "waiters-behind-a-detached-lease",
        "L1: whoever waits in a session that detaches the name campaigns, and its end ends the handle",
        (
            Edit(
                "session.campaigns",
                "Campaigns.detach",
                "del self._names[campaign.name]\n"
                "        for waiting in local.campaigns:\n"
                "            del self._campaigns[waiting.ticket]\n"
                "            self._out.publish(Barred(waiting.ticket))",
                "local.attempt = None\n        self._next_campaign(local, now)",
            ),
        ),
        changes={**CALM, "clients": 3, "wishes_max": 3, "detached": 0.5, "once": 0.0},
    ),
    Mutation(
        "campaigns-after-detaching",
        "L1: a session campaigns again for a name of which it has detached a lease",
        (Edit("session.campaigns", "Campaigns.campaign", "if name in self._given_away:", "if False:"),),
        test="tests/paper/test_section_3_handles.py"
        "::test_l1_those_who_wait_in_a_session_that_detaches_the_name_are_barred",
    ),
    Mutation(
        "asked-before-the-release",
        "L7: another attempt is made while the Release of the one before waits for its turn",
        (
            Edit(
                "session.candidates",
                "Candidates.prepare",
                "self.releases.hasten(attempt.campaign.name, now)",
                "pass",
            ),
        ),
        test="tests/paper/test_section_5_turns.py"
        "::test_l7_a_release_that_waits_for_its_turn_goes_before_another_attempt_at_the_name",
    ),
    Mutation(
        "holder-not-told-of-a-release",
        "section 3: a holder hears of a release by its handle only when it renews",
        (Edit("node.acceptor", "Acceptor.release", "sender != candidate.session", "False"),),
        test="tests/paper/test_section_3_handles.py"
        "::test_a_holder_is_told_at_once_that_another_has_released_its_lease",
    ),
    Mutation(
        "own-lease-released-while-held",
        "S2: a session releases its own lease by the handle and goes on holding it",
        (
            Edit(
                "session.session",
                "Session.release_detached",
                "self._campaigns.released_by_handle(name, candidate, now)",
                "pass",
            ),
        ),
        test="tests/paper/test_section_3_handles.py"
        "::test_s2_whoever_releases_its_own_lease_by_the_handle_holds_it_no_more_before_that_is_sent",
    ),
    Mutation(
        "sent-before-it-is-told",
        "S2: a verb sends the Release of a lease that its program is not yet told to have lost",
        (Edit("paxlock.runtime.driver", "Driver.poke", "self.hear()", "pass"),),
        test="tests/shell/test_acquire.py"
        "::test_a_client_that_releases_its_own_lease_by_the_handle_has_lost_it_at_once",
    ),
    Mutation(
        "told-too-late-and-kept",
        "section 3: what is told only after it was over for the program is renewed for ever",
        (Edit("paxlock.client.holding", "Holding.extended", "return False", "return True"),),
        test="tests/shell/test_acquire.py::test_a_renewal_that_is_told_too_late_is_a_loss",
    ),
)

"""Bugs planted in what a node that is killed knows at a start on the same boot (protocol.md section 7)."""

from __future__ import annotations

from paxlock.core.durable import Durability
from tests.planted.figures import KILLS, RESTARTS
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_STATE_FILES"]

FILE = "tests/unit/test_state_file.py"
PAPER = "tests/paper/test_section_7_same_boot.py"

SYNC = "tests/paper/test_section_7_sync.py"

IN_STATE_FILES: tuple[Mutation, ...] = (
    Mutation(
        "synced-leases-forgotten",
        "section 7, synchronous mode: after a crash of the machine no lease is held",
        (Edit("node.starts", "_after_a_crash", "rearmed(kept,", "rearmed(kept._replace(names=()),"),),
        changes={**RESTARTS, "durability": Durability.SYNC},
    ),
    Mutation(
        "synced-time-left",
        "section 7, synchronous mode: deadlines count on a boot clock that has begun anew",
        (Edit("node.keeping", "rearmed", "names=names", "names=kept.names"),),
        test=f"{SYNC}::test_it_serves_at_once_and_excludes_for_a_whole_ttl",
    ),
    Mutation(
        "synced-and-sits-out-no-more",
        "section 7, synchronous mode: who was sitting out when the machine crashed serves at once",
        (Edit("node.keeping", "rearmed", "now + sits_out if kept.serves_at else 0.0", "0.0"),),
        test=f"{SYNC}::test_who_was_sitting_out_sits_out_anew_and_whole",
    ),
    Mutation(
        "asks-and-so-sits-out",
        "section 7, synchronous mode: who has its memory and only asks others is kept as sitting out",
        (Edit("node.recovery", "Recovery.kept_serve_at", "or self.sits_out == 0.0", ""),),
        test=f"{SYNC}::test_a_crash_before_another_has_confirmed_the_memory_forgets_nothing",
    ),
    Mutation(
        "names-of-who-sat-out",
        "section 7: names in the file of a node that was sitting out are dropped, and no floor is above them",
        (Edit("node.starts", "_restart", "if kept.names:", "if False:"),),
        test=f"{SYNC}::test_names_in_the_file_of_one_that_was_sitting_out_are_below_its_floor",
    ),
    Mutation(
        "not-synced-and-counts",
        "section 7: a state file counts after a crash of the machine though nothing was synced",
        (Edit("node.starts", "_after_a_crash", "previous.durability is not Durability.SYNC", "False"),),
        test=f"{SYNC}::test_the_mode_counts_in_which_it_ran",
    ),
    Mutation(
        "synced-and-committed-at-once",
        "section 7, synchronous mode: an entry is committed before it is on the disk",
        (Edit("paxlock.store.state_file", "StateFile.__init__", "self._lags = ", "self._lags = False and "),),
        test=f"{FILE}::test_whatever_a_crash_of_the_machine_leaves_has_all_that_was_told",
    ),
    Mutation(
        "sent-before-it-is-synced",
        "section 7, synchronous mode: what follows is sent before it is on the disk",
        (Edit("paxlock.runtime.driver", "Driver._turn", "await self._sync()", "pass"),),
        test="tests/shell/test_driver.py::test_in_synchronous_mode_it_is_on_the_disk_before",
    ),
    Mutation(
        "poked-and-not-synced",
        "section 7, synchronous mode: what a local verb wants sent leaves at once",
        (Edit("paxlock.runtime.driver", "Driver.poke", " and self._sync is None", ""),),
        test="tests/shell/test_driver.py::test_in_synchronous_mode_it_is_on_the_disk_before",
    ),
    Mutation(
        "memory-mode-leaves-the-file",
        "section 7, memory mode: the state file of an earlier run counts after it",
        (Edit("paxlock.runtime.environment", "_outdate", "store.forget_kept()", "pass"),),
        test=f"{FILE}::test_a_run_in_memory_outdates_the_state_file",
    ),
    Mutation(
        "accepted-and-not-kept",
        "section 7, the same boot: what is accepted is not in the state file",
        (Edit("node.replica", "Replica._settle", "self._keeping.unkept |= touched", "pass"),),
        changes=KILLS,
    ),
    Mutation(
        "renewed-and-not-kept",
        "section 7, the same boot: a new deadline is not in the state file",
        (Edit("node.keeping", "Keeping.take", "tuple(acceptor.renewals)", "()"),),
        changes={**KILLS, "hold_max": 0.8},
    ),
    Mutation(
        "renewals-read-and-not-counted",
        "section 7, the same boot: the deadline of an accepted lease stands, whatever re-armed it",
        (Edit("node.keeping", "_rearm", "max(kept.deadline, at + kept.ttl_ms / 1000.0)", "kept.deadline"),),
        changes={**KILLS, "hold_max": 0.8},
    ),
    Mutation(
        "own-term-not-kept",
        "section 7, the same boot: a node that was killed begins with terms below those it accepted in",
        (Edit("node.keeping", "_restored", "term=kept.term", "term=0"),),
        test=f"{PAPER}::test_the_own_term_is_at_least_that_of_the_lease",
    ),
    Mutation(
        "floor-not-kept-with-what-is-dropped",
        "section 7, the same boot: a name is dropped, and the floor above it is written later or never",
        (Edit("node.keeping", "Keeping.take", "acceptor.floor", "0"),),
        test=f"{PAPER}::test_what_is_dropped_is_below_the_floor_of_the_same_entry",
    ),
    Mutation(
        "tombstones-not-kept",
        "L1, the same boot: a node that was killed forgets what was released",
        (Edit("node.keeping", "Keeping.take", "tuple(acceptor.stones)", "()"),),
        test=f"{PAPER}::test_l1_what_was_released_stays_released",
    ),
    Mutation(
        "sits-out-anew",
        "section 7, the same boot: a node that was sitting out serves at once when it is killed and started",
        (Edit("node.starts", "_restart", "kept.serves_at > now", "False"),),
        test=f"{PAPER}::test_who_was_sitting_out_sits_on_until_the_same_end",
    ),
    Mutation(
        "time-left-from-the-start",
        "section 7, the same boot: deadlines count from the start, and not on the boot clock",
        (
            Edit(
                "node.keeping",
                "_restored",
                "ceil((kept.deadline - now) * 1000.0) if kept.session else 0",
                "kept.ttl_ms if kept.session else 0",
            ),
        ),
        test=f"{PAPER}::test_a_lease_ends_at_its_deadline_on_the_boot_clock",
    ),
    Mutation(
        "file-of-another-run",
        "section 7, the same boot: the state file of an earlier run counts",
        (
            Edit(
                "paxlock.store.state_file",
                "Identity.is_of_run",
                "(FORMAT, self.rest)",
                "(FORMAT, [*self.rest[:-1], rest[-1]])",
            ),
        ),
        test=f"{FILE}::test_the_file_of_another_run_cell_or_node_counts_for_nothing",
    ),
    Mutation(
        "file-of-another-boot",
        "section 7, the same boot: the state file of another boot counts",
        (
            Edit(
                "paxlock.store.state_file",
                "Identity.is_of",
                "bool(boot == self.boot) and ",
                "",
            ),
        ),
        test=f"{FILE}::test_the_file_of_another_boot_counts_for_nothing",
    ),
    Mutation(
        "copied-file",
        "section 7, the same boot: a state file counts wherever it was copied",
        (
            Edit(
                "paxlock.store.state_file",
                "Identity.is_of_run",
                "(FORMAT, self.rest)",
                "(FORMAT, [rest[0], *self.rest[1:]])",
            ),
        ),
        test=f"{FILE}::test_a_copied_folder_is_another_place",
    ),
    Mutation(
        "damage-in-the-middle",
        "section 7, the same boot: an entry in the middle counts, whole or not",
        (
            Edit("paxlock.store.state_file", "_frame", " or found != expected", ""),
            Edit("paxlock.store.state_file", "_read", " or checksum != last_checksum", ""),
        ),
        test=f"{FILE}::test_every_flipped_bit_is_found_or_changes_nothing",
    ),
    Mutation(
        "dropped-tail",
        "section 7, the same boot: a file that is shorter than what was told counts",
        (
            Edit("paxlock.store.state_file", "_read", "or committed > len(content)", ""),
            Edit("paxlock.store.state_file", "_read", "while at < committed:", "while at < len(content):"),
            Edit(
                "paxlock.store.state_file", "_read", "at != committed or checksum != last_checksum", "False"
            ),
        ),
        test=f"{FILE}::test_a_dropped_tail_is_found_wherever_it_begins",
    ),
    Mutation(
        "older-commitment",
        "section 7, the same boot: a commitment that is older than the entries counts",
        (
            Edit(
                "paxlock.store.state_file",
                "_one_frame_at_most",
                "if at + FRAME.size",
                "if True or at + FRAME.size",
            ),
        ),
        test=f"{FILE}::test_an_older_commitment_that_came_back_is_found",
    ),
    Mutation(
        "failed-write-and-the-file-stands",
        "section 7, the same boot: after a failed write the file counts as it is",
        (
            Edit("paxlock.store.folder", "Store._keep_no_more", "self._state.spoil()", "pass"),
            Edit("paxlock.store.folder", "Store._keep_no_more", "os.unlink(", "(lambda *_, **__: None)("),
        ),
        test=f"{FILE}::test_after_a_failed_write_the_file_counts_for_nothing",
    ),
    Mutation(
        "network-file-system",
        "section 7, the same boot: any file system is good enough",
        (Edit("paxlock.store.boot", "mount_identity", " if kind in LOCAL_FILE_SYSTEMS else None", ""),),
        test=f"{FILE}::test_a_network_file_system_is_refused",
    ),
    Mutation(
        "sent-before-it-is-kept",
        "section 7, the same boot: an entry is written after what follows from it is sent",
        (
            Edit("paxlock.host.turn", "Turn.take", "self._keep(effects.keep)", "self._later = effects.keep"),
            Edit(
                "paxlock.host.turn",
                "Turn.flush",
                "self._transport.send_nowait(datagram, address)",
                "self._transport.send_nowait(datagram, address)\n"
                "    if (late := vars(self).pop('_later', None)) is not None:\n"
                "        self._keep(late)",
            ),
        ),
        test="tests/shell/test_driver.py::test_what_is_sent_is_kept_before",
    ),
)

"""docs/messages.md is what the code says."""

from __future__ import annotations

from paxlock.wire import codec
from tests.message_table import PAGE, page, taken_by


def test_the_table_of_messages_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.message_table"


def test_every_kind_has_somebody_who_sends_it_and_somebody_who_takes_it() -> None:
    rows = [line.split(" | ") for line in page().splitlines() if line[:3].strip("| ").isdigit()]
    assert len(rows) == len(codec._BY_KIND)
    assert all(sender and receiver for _, _, sender, receiver, _ in rows)


def test_what_a_machine_takes_is_read_from_its_code() -> None:
    def machine(message: object) -> None:
        match message:
            case str():
                pass
            case _ if isinstance(message, bytes):
                assert isinstance(machine, object)

    assert taken_by(machine) == {"str", "bytes"}

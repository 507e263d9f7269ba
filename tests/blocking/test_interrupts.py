"""The exception that is sent to a thread whose lease is lost (blocking/interrupts.py)."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from paxlock import LeaseLost, LossReason
from paxlock.blocking.interrupts import Interrupt, interrupt_here, interruptible

PATIENCE_S = 60.0

TRACED_AFTERWARDS = """
import sys, threading
from paxlock import LeaseLost, LossReason
from paxlock.blocking.interrupts import interrupt_here

def step():
    return 1

interrupt = interrupt_here("x", 1)
try:
    sender = threading.Thread(target=interrupt.send, args=(LossReason.EXPIRED,))
    sender.start()
    sender.join()
    while True:
        step()
except LeaseLost:
    pass
interrupt.disarm()
sys.settrace(lambda frame, event, argument: None)
step()
sys.settrace(None)
print("traced")
"""


def raised() -> bool:
    """Whether an exception hits one of the next steps."""
    try:
        for _ in range(1000):
            interruptible(0)
    except LeaseLost:
        return True
    return False


def test_a_debugger_can_trace_a_program_that_was_interrupted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRACED_AFTERWARDS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout == "traced\n"


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_raised_after_the_block(late: bool) -> None:
    """Whether it was raised in the block, or only when the block ended."""
    found = []

    def work() -> None:
        for _ in range(200):
            interrupt = interrupt_here("x", 1)
            go = threading.Event()

            def send(interrupt: Interrupt = interrupt, go: threading.Event = go) -> None:
                go.wait(PATIENCE_S)
                interrupt.send(LossReason.EXPIRED)

            sender = threading.Thread(target=send)
            sender.start()  # before anything may be raised in there
            try:
                go.set()
                if not late:
                    sender.join()
            except LeaseLost:
                pass
            interrupt.disarm()
            found.append(raised())
            sender.join()
            assert not interruptible(threading.get_ident())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE_S)
    assert found == [False] * 200

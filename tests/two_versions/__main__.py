"""``python -m tests.two_versions WHEEL``: an upgrade from the version in this wheel to this tree, and back.

Ends with 0 where no call failed, no lease was lost and no two held a name at once; else with 1, and the
folder with everything that was noted is kept. See docs/testing.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tests.two_versions.cell import Layout
from tests.two_versions.play import Pace, play

QUICK = Pace(between=0.5, whole=1.5, killed=False)
FULL = Pace(between=4.0, whole=10.0, killed=True)


def say(text: str) -> None:
    print(text, flush=True)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.two_versions", description=__doc__)
    parser.add_argument("wheel", type=Path, metavar="WHEEL", help="of the previous version")
    parser.add_argument("--quick", action="store_true", help="the short form: half a minute")
    told = parser.parse_args()
    if not told.wheel.is_file():
        parser.error(f"{told.wheel} is no file")
    # Whatever ends this process in good order ends those of the play too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    began = time.monotonic()
    try:
        good = play(told.wheel, Layout(), QUICK if told.quick else FULL, say)
    except KeyboardInterrupt:
        say("interrupted: all processes were ended")
        return 128 + signal.SIGINT
    say(f"{'nothing wrong' if good else 'FAILED'} after {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

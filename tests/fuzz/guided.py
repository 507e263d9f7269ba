"""One target under libFuzzer (atheris), in a process of its own: the code must be instrumented as it loads.

``python -m tests.fuzz.guided TARGET WORKDIR LIBFUZZER_ARGUMENTS`` reads and extends WORKDIR/corpus.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from random import Random

atheris = importlib.import_module("atheris")  # not there on every machine, and without types

with atheris.instrument_imports(include=["paxlock"]):
    from paxlock.wire import codec

    from .hostile import METER
    from .targets import TARGETS

for schema in codec._BY_KIND.values():  # made while loading: no import shows their code
    schema.decode = atheris.instrument_func(schema.decode)

__all__ = ["main"]


def main(name: str, work: Path, arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process. The worst CPU time of a datagram goes into WORKDIR/cpu."""
    target = TARGETS[name]
    worst = 0

    def run(data: bytes) -> None:
        nonlocal worst
        target.run(data)
        if METER.worst_cpu_ns > worst:
            worst = METER.worst_cpu_ns
            (work / "cpu").write_text(str(worst))

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        def change_bytes(some: bytes) -> bytes:
            return bytes(atheris.Mutate(some, max(1, max_size)))

        return target.change(data, Random(seed), change_bytes)[:max_size]

    options = [f"-max_len={target.input_max_bytes}", *arguments, str(work / "corpus")]
    atheris.Setup([sys.argv[0], *options], run, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

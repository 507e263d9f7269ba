"""A client process: ``python -m benchmarks.client SPECIFICATION`` does one workload and prints its result."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from benchmarks.registry import PEERS
from benchmarks.workloads import WORKLOADS, Context, Result


def main() -> None:
    specification: dict[str, Any] = json.loads(sys.argv[1])
    peer = PEERS[specification["peer"]]
    context = Context(
        peer,
        peer.runtime(),
        specification["connection"],
        specification["ttl"],
        specification["servers"],
        specification["arguments"],
    )

    async def work() -> Result:
        return dict(await WORKLOADS[specification["workload"]](context))

    result = context.runtime.run(work)
    context.tell({"result": result})


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some libraries leave threads that would be waited for

"""The script that is the supervisor's process: ``paxlock.cli.supervisor``, and nothing else of paxlock.

The packages above it are stand-ins that only say where their modules are: what paxlock loads would take the
supervisor many times as long as it needs to be up.
"""

import os
import sys
from types import ModuleType

if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib takes too long
    for name, path in (("paxlock", os.path.dirname(folder)), ("paxlock.cli", folder)):  # noqa: PTH120
        package = ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package
    from paxlock.cli.supervisor import main

    main(sys.argv[1:])

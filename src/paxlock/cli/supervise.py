"""The script that is the supervisor's process: ``paxlock.cli.supervisor``, and little else of paxlock.

The packages above it are stand-ins that only say where their modules are: what paxlock loads would take the
supervisor many times as long as it needs to be up.
"""

import os
import sys
from types import ModuleType

if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib takes too long
    above = os.path.dirname(folder)  # noqa: PTH120
    places = {"paxlock": above, "paxlock.cli": folder, "paxlock.host": os.path.join(above, "host")}  # noqa: PTH118
    for name, path in places.items():
        package = ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package
    from paxlock.cli.supervisor import main

    main(sys.argv[1:])

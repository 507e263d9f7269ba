"""``notebook_runner.py NOTEBOOK``: runs the code cells of a notebook, which may await, in turn."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import signal
import sys
from pathlib import Path
from typing import Any


async def main(cells: list[dict[str, Any]]) -> None:
    namespace: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            code = compile(source, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            found = eval(code, namespace)
            if inspect.iscoroutine(found):
                await found


if __name__ == "__main__":
    # An interrupt ends a cell, also where a shell has started this in the background, with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cells"]))

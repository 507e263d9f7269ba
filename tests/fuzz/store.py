"""The corpus that is kept: one packed file of text for each target, an input a line."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CORPUS", "CRASHES", "read_corpus", "save_crash", "write_corpus"]

CORPUS = Path(__file__).parent / "corpus"
CRASHES = Path(__file__).parent / "crashes"


def read_corpus(target: str, folder: Path = CORPUS) -> list[bytes]:
    """The inputs kept for a target; none where there is no file."""
    path = folder / f"{target}.txt"
    if not path.exists():
        return []
    return [base64.b64decode(line) for line in path.read_text("ascii").splitlines()]


def write_corpus(target: str, inputs: Iterable[bytes], folder: Path = CORPUS) -> None:
    """Replace what is kept for a target. Sorted, so that a change shows as the lines that changed."""
    lines = sorted({base64.b64encode(data).decode() for data in inputs}, key=lambda line: (len(line), line))
    (folder / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines), "ascii")


def save_crash(target: str, data: bytes, folder: Path = CRASHES) -> Path:
    """Keep an input that broke something, outside of the repository's history."""
    import hashlib

    folder.mkdir(exist_ok=True)
    path = folder / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path

"""The helpers of the other folders: machines moved by hand, and a whole cell in memory."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("paper", "shell")]

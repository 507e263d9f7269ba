"""What a text may be that people give and read: names and labels (protocol.md section 1)."""

from __future__ import annotations

import re

__all__ = ["CONTROL", "UNSEEN", "is_normal", "normal"]

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Bidirectional controls, and what takes no room: two names that look alike would not be the same.
UNSEEN = re.compile("[\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


def normal(text: str) -> str:
    """The text in NFC: of the spellings of an accented letter, the one that all of paxlock compares."""
    if text.isascii():
        return text
    import unicodedata  # here, because it is large, and hardly ever needed

    return unicodedata.normalize("NFC", text)


def is_normal(text: str) -> bool:
    """Whether a text is as clients send it: in NFC, with nothing in it that controls or that nobody sees."""
    if CONTROL.search(text):
        return False
    return text.isascii() or (not UNSEEN.search(text) and normal(text) == text)

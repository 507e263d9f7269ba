"""The kept corpus, replayed: what was once interesting still breaks nothing."""

from __future__ import annotations

import typing

import pytest

from paxlock.core import messages as m

from .engine import Target, Tracer, replay
from .hostile import METER
from .store import CORPUS, read_corpus
from .targets import TARGETS
from .traffic import traffic

FILES_MAX = 300
CORPUS_MAX_BYTES = 300_000


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
@pytest.mark.slow
def test_the_kept_corpus_breaks_nothing(target: Target) -> None:
    """With the lines of each datagram counted: the limit of hostile.py holds."""
    inputs = read_corpus(target.name)
    assert inputs
    tracer = replay(target, [*inputs, *target.seeds()], METER.begin(Tracer()))
    METER.begin(None)
    assert tracer.lines > 0


def test_the_corpus_is_small() -> None:
    files = list(CORPUS.iterdir())
    assert {file.stem for file in files} == set(TARGETS)
    assert len(files) <= FILES_MAX
    assert sum(file.stat().st_size for file in files) <= CORPUS_MAX_BYTES


def test_the_seeds_hold_every_kind_of_message() -> None:
    assert {type(sent.message) for sent in traffic()} == set(typing.get_args(m.Message))

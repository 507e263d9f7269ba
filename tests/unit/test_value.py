"""Classes of values: how they compare, hash and show, made without code of their own."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from paxlock.core.messages import Inquire, Poll
from paxlock.core.value import value


@value
class Point:
    x: int
    y: int = 0


@value
class Place:
    x: int
    y: int = 0


@value
class Known:
    name: str
    secret: bytes = attrs.field(repr=False)
    hint: str = attrs.field(default="", eq=False)


@value
class Empty:
    pass


def test_equal_where_all_fields_are() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Point(2, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert len({Point(1, 2), Point(1, 2), Point(1, 3)}) == 2
    assert Empty() == Empty() and len({Empty(), Empty()}) == 1


def test_another_class_with_the_same_fields_is_not_equal() -> None:
    others: list[object] = [Place(1, 2), (1, 2)]
    assert Point(1, 2) not in others
    asked: list[object] = [Poll(1, "name")]
    assert Inquire(1, "name") not in asked
    assert len({Poll(1, "name"), Inquire(1, "name")}) == 2


def test_shown_by_its_fields_but_for_those_that_are_not_to_be_seen() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"
    assert repr(Known("a", b"s3cret", "b")) == "Known(name='a', hint='b')"
    assert repr(Empty()) == "Empty()"


def test_a_field_may_be_left_out_of_the_comparison() -> None:
    assert Known("a", b"s", "one") == Known("a", b"s", "two")
    assert hash(Known("a", b"s", "one")) == hash(Known("a", b"s", "two"))
    assert Known("a", b"s") != Known("a", b"t")


@pytest.mark.parametrize("instance", [Point(1, 2), Known("a", b"s"), Empty()])
def test_copied_pickled_and_changed(instance: object) -> None:
    assert copy.copy(instance) == instance
    assert pickle.loads(pickle.dumps(instance)) == instance


def test_changed_by_evolve() -> None:
    assert attrs.evolve(Point(1, 2), y=3) == Point(1, 3)


def test_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        object.__setattr__(Point(1), "z", 3)

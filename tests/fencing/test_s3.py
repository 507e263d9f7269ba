"""The guard for S3, with moto in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paxlock import ConfigError
from paxlock.fencing import StaleToken, Token
from paxlock.fencing.s3 import ManifestContended, ManifestGuard
from tests.fencing.libraries import library
from tests.fencing.rules import Rules
from tests.fencing.steps import BUCKET, KEY, write_report
from tests.fencing.stopped import passed_by_its_successor
from tests.fencing.tokens import Held

boto3 = library("boto3")
moto = library("moto")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "tests")
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()


class Bucket:
    """A manifest for each name."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.last: ManifestGuard | None = None

    def guard(self, held: Token) -> ManifestGuard:
        return ManifestGuard(self.client, BUCKET, held.name.encode().hex(), held)

    def claim(self, held: Token) -> None:
        self.guard(held).claim()

    def write(self, held: Token, value: str) -> None:
        guard = self.guard(held)
        guard.update(lambda data: {"value": value})
        self.last = guard

    def value(self) -> str | None:
        if self.last is None:
            return None
        found = self.client.get_object(Bucket=BUCKET, Key=self.last._key)["Body"].read()
        value: str = json.loads(found)["data"]["value"]
        return value


class TestRules(Rules):
    @pytest.fixture
    def storage(self, client: Any) -> Bucket:
        return Bucket(client)


class Meddling:
    """A client that does something just before each of the next writes."""

    def __init__(self, client: Any, *actions: Callable[[], object]) -> None:
        self.client = client
        self.actions = list(actions)
        self.exceptions = client.exceptions

    def get_object(self, **arguments: Any) -> Any:
        return self.client.get_object(**arguments)

    def put_object(self, **arguments: Any) -> Any:
        if self.actions:
            self.actions.pop(0)()
        return self.client.put_object(**arguments)


def test_a_claim_between_read_and_write_refuses_the_write(client: Any) -> None:
    new = ManifestGuard(client, BUCKET, KEY, Held(8))
    old = ManifestGuard(Meddling(client, lambda: None, new.claim), BUCKET, KEY, Held(7))
    assert old.claim() is None
    with pytest.raises(StaleToken):
        old.update(lambda data: "stale")
    assert new.read() is None
    with pytest.raises(StaleToken):
        old.read()


def test_of_two_first_claims_the_higher_term_stays(client: Any) -> None:
    new = ManifestGuard(client, BUCKET, KEY, Held(8))
    with pytest.raises(StaleToken):
        ManifestGuard(Meddling(client, new.claim), BUCKET, KEY, Held(7)).claim()


def test_the_same_data_with_another_term_is_another_object(client: Any) -> None:
    # The ETag covers the body alone: a term in the metadata could be lowered unseen.
    old, new = (ManifestGuard(client, BUCKET, KEY, Held(term)) for term in (7, 8))
    old.claim()
    old.update(lambda data: ["same"])
    etag = client.head_object(Bucket=BUCKET, Key=KEY)["ETag"]
    assert new.claim() == ["same"]
    assert client.head_object(Bucket=BUCKET, Key=KEY)["ETag"] != etag


def test_tasks_of_one_holder_lose_no_update(client: Any) -> None:
    def add(item: str) -> Callable[[list[str] | None], list[str]]:
        return lambda data: [*(data or []), item]

    plain = ManifestGuard(client, BUCKET, KEY, Held(7))
    plain.claim()
    meddled = ManifestGuard(Meddling(client, lambda: plain.update(add("one"))), BUCKET, KEY, Held(7))
    assert meddled.update(add("two")) == ["one", "two"]
    assert plain.read() == ["one", "two"]


def test_a_write_that_is_sent_twice_is_made_once(client: Any) -> None:
    class Repeating(Meddling):
        def put_object(self, **arguments: Any) -> Any:
            self.client.put_object(**arguments)  # whose answer is lost
            return self.client.put_object(**arguments)

    guard = ManifestGuard(Repeating(client), BUCKET, KEY, Held(7))
    assert guard.claim() is None
    assert guard.update(lambda data: [*(data or []), "one"]) == ["one"]
    assert guard.read() == ["one"]


def test_it_gives_up_in_the_end(client: Any) -> None:
    plain = ManifestGuard(client, BUCKET, KEY, Held(7))
    plain.claim()
    counts = iter(range(100))
    meddling = Meddling(client, *[lambda: plain.update(lambda data: next(counts))] * 10)
    with pytest.raises(ManifestContended, match=r"s3://bucket/report/manifest\.json"):
        ManifestGuard(meddling, BUCKET, KEY, Held(7)).update(lambda data: "mine")
    assert plain.read() == 9


def test_folders_sort_by_term(client: Any) -> None:
    folders = [ManifestGuard(client, BUCKET, KEY, Held(term)).folder for term in (9, 10, 2**62 - 1)]
    assert folders == sorted(folders)
    assert folders[0] == "0000000000000000009"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"{}",
        b'{"paxlock": {"name": "primary", "cell": "", "write": "", "term": 7}}',
        b"\xff",
    ],
)
def test_what_is_no_manifest_is_not_replaced(client: Any, body: bytes) -> None:
    client.put_object(Bucket=BUCKET, Key=KEY, Body=body)
    with pytest.raises(ConfigError, match="is not a manifest"):
        ManifestGuard(client, BUCKET, KEY, Held(7)).claim()
    assert client.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == body


def test_a_manifest_is_for_one_name(client: Any) -> None:
    ManifestGuard(client, BUCKET, KEY, Held(7)).claim()
    with pytest.raises(ConfigError, match="is the manifest of 'primary', not of 'other'"):
        ManifestGuard(client, BUCKET, KEY, Held(9, "other")).claim()


def test_another_failure_comes_out(client: Any) -> None:
    with pytest.raises(client.exceptions.ClientError, match="NoSuchBucket"):
        ManifestGuard(client, "nothing", KEY, Held(7)).claim()


class Report:
    """Bodies, and the manifest that names the one that counts."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def claim(self, held: Token) -> None:
        ManifestGuard(self.client, BUCKET, KEY, held).claim()

    def write(self, held: Token, value: str) -> None:
        write_report(self.client, held, value, lambda: None)

    def body(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def value(self) -> str:
        return self.body(json.loads(self.body(KEY))["data"]["current"]).decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address at which other processes find what `client` has: moto keeps it once for its process."""
    library("flask_cors")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = library("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.mark.processes
def test_a_holder_stopped_before_its_write(client: Any, server: str) -> None:
    report = Report(client)
    passed_by_its_successor("s3", server, report)
    assert report.value() == "new"
    # What the stopped one wrote beside is in a folder of its own, which no manifest names.
    assert report.body("report/0000000000000000007/body") == b"again"

"""The field Fencing-Token, who sends it, and who refuses it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxlock import LeaseLost
from paxlock.fencing import FencingToken, StaleToken, Token, sqlite
from paxlock.fencing.http import (
    FIELD,
    MalformedToken,
    RefusalsASGI,
    RefusalsWSGI,
    SendToken,
    format_token,
    parse_token,
    problem,
    raise_if_stale,
)
from tests.fencing.libraries import library
from tests.fencing.steps import with_http
from tests.fencing.stopped import passed_by_its_successor
from tests.fencing.tokens import Held

TERMS = st.integers(1, 2**62 - 1)


@pytest.mark.parametrize(
    ("token", "field"),
    [
        (FencingToken("primary", 7), '"primary";term=7'),
        (FencingToken("primary", 7, "5f0c"), '"primary";term=7;cell="5f0c"'),
        (FencingToken('a"b\\c', 10**15 - 1), r'"a\"b\\c";term=999999999999999'),
        # RFC 9651 has Integers of 15 digits.
        (FencingToken("primary", 10**15), '"primary";term="1000000000000000"'),
        (FencingToken("füü 100%", 7), '%"f%c3%bc%c3%bc 100%25";term=7'),
    ],
)
def test_golden(token: FencingToken, field: str) -> None:
    assert format_token(token) == field
    assert parse_token(field) == token


@settings(max_examples=50)
@given(
    st.builds(
        FencingToken,
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
        TERMS,
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64),
    )
)
def test_round_trip(token: FencingToken) -> None:
    field = format_token(token)
    assert field.isascii() and field.isprintable()
    assert parse_token(field) == token


@settings(max_examples=50)
@given(st.text(st.characters(codec="latin-1"), max_size=40) | st.from_regex(r'\A%?"[^"]*";term="?\d+"?\Z'))
def test_junk_is_a_token_or_malformed(text: str) -> None:
    try:
        token = parse_token(text)
    except MalformedToken:
        return
    assert parse_token(format_token(token)) == token


@pytest.mark.parametrize(
    "field",
    [
        None,
        "",
        "primary;term=7",
        '"primary"',
        '"primary";term=0',
        '"primary";term=07',
        '"primary";term=-7',
        '"primary";term=7.0',
        '"primary";term=1000000000000000',
        '"primary";term="7"',
        '"primary";term="4611686018427387904"',
        '"primary";term=7;term=8',
        '"primary";term=7, "primary";term=8',
        '"primary";term=7;other=1',
        '"primary" ;term=7',
        '"pri\\mary";term=7',
        '"größe";term=7',
        '%"%C3%BC";term=7',
        '%"%ff";term=7',
        '%"a%2";term=7',
        '"";term=7',
        '"' + "n" * 256 + '";term=7',
        '"primary";term=\N{ARABIC-INDIC DIGIT SEVEN}',
        '"primary";term=7;cell="' + "c" * 65 + '"',
        '"' + "n" * 100_000 + '";term=7',
    ],
)
def test_malformed(field: str | None) -> None:
    with pytest.raises(MalformedToken) as caught:
        parse_token(field)
    assert len(str(caught.value)) < 250


def test_white_space_as_the_standard_has_it() -> None:
    assert parse_token('  "primary"; term=7;  cell="c" ') == FencingToken("primary", 7, "c")


def test_the_answer_names_the_highest_term() -> None:
    status, fields, body = problem(StaleToken("primary", 7, 2**53 + 1))
    assert (status, dict(fields)["content-type"]) == (412, "application/problem+json")
    said = json.loads(body)
    assert (said["status"], said["name"], said["term"], said["highest"]) == (
        412,
        "primary",
        "7",
        str(2**53 + 1),
    )
    status, _, body = problem(MalformedToken("no"))
    assert (status, json.loads(body)["detail"]) == (400, "no")


# A service, which compares in the transaction that has the effect


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "database", check_same_thread=False)) as connection:
        sqlite.create_table(connection)
        connection.execute("CREATE TABLE effect (value text)")
        connection.commit()
        yield connection


def effect(database: sqlite3.Connection, field: str | None, value: str) -> None:
    token = parse_token(field)
    with database:
        database.execute("BEGIN IMMEDIATE")
        sqlite.admit(database, token)
        database.execute("INSERT INTO effect VALUES (?)", (value,))


def values(database: sqlite3.Connection) -> list[str]:
    return [row[0] for row in database.execute("SELECT value FROM effect")]


def wsgi(database: sqlite3.Connection) -> RefusalsWSGI:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        effect(database, environ.get("HTTP_FENCING_TOKEN"), environ["PATH_INFO"].strip("/"))
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"done"]

    return RefusalsWSGI(app)


def asgi(database: sqlite3.Connection) -> Any:
    applications = library("starlette.applications")
    responses = library("starlette.responses")
    routing = library("starlette.routing")
    middleware = library("starlette.middleware")

    async def write(request: Any) -> Any:
        effect(database, request.headers.get(FIELD), request.path_params["value"])
        return responses.PlainTextResponse("done")

    return applications.Starlette(
        routes=[routing.Route("/{value}", write, methods=["PUT"])],
        middleware=[middleware.Middleware(RefusalsASGI)],
    )


def test_wsgi(database: sqlite3.Connection) -> None:
    httpx = library("httpx")
    transport = httpx.WSGITransport(app=wsgi(database))

    def put(value: str, auth: SendToken | None) -> Any:
        with httpx.Client(transport=transport, base_url="http://service", auth=auth) as client:
            return client.put(f"/{value}")

    assert [put(value, SendToken(Held(7))).status_code for value in ("one", "two")] == [200, 200]
    assert put("three", SendToken(Held(8))).status_code == 200
    refused = put("four", SendToken(Held(7)))
    assert refused.status_code == 412
    with pytest.raises(StaleToken) as caught:
        raise_if_stale(refused)
    assert (caught.value.name, caught.value.term, caught.value.highest) == ("primary", 7, 8)
    missing = put("five", None)
    assert missing.status_code == 400 and "missing" in missing.json()["detail"]
    raise_if_stale(missing)
    assert values(database) == ["one", "two", "three"]
    with pytest.raises(LeaseLost):
        put("six", SendToken(Held(9, ttl=0.0)))


class Service:
    """The service at an address, by requests."""

    def __init__(self, where: str, database: sqlite3.Connection) -> None:
        self.put = with_http(where)
        self.database = database

    def claim(self, held: Token) -> None:
        """Nothing: the service admits what it has not seen before."""

    def write(self, held: Token, value: str) -> None:
        self.put(held, value, lambda: None)

    def value(self) -> str:
        (value,) = values(self.database)
        return value


class Quiet(WSGIRequestHandler):
    """It logs no requests."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.processes
def test_a_holder_stopped_before_its_request(database: sqlite3.Connection) -> None:
    library("httpx")
    with make_server("127.0.0.1", 0, wsgi(database), handler_class=Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            where = f"http://127.0.0.1:{server.server_port}"
            passed_by_its_successor("http", where, Service(where, database))
        finally:
            server.shutdown()
            serving.join()
    assert values(database) == ["new"]


def test_asgi(database: sqlite3.Connection) -> None:
    httpx = library("httpx")
    app = asgi(database)

    async def put(value: str, held: Held) -> Any:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://service", auth=SendToken(held)
        ) as client:
            return await client.put(f"/{value}")

    async def scenario() -> list[Any]:
        return [await put("one", Held(7)), await put("two", Held(8)), await put("three", Held(7))]

    answers = asyncio.run(scenario())
    assert [answer.status_code for answer in answers] == [200, 200, 412]
    with pytest.raises(StaleToken):
        raise_if_stale(answers[-1])
    assert values(database) == ["one", "two"]


async def test_asgi_answers_for_requests_that_have_no_answer_yet() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise StaleToken("primary", 7, 8)

    async def early(scope: Any, receive: Any, send: Any) -> None:
        raise StaleToken("primary", 7, 8)

    with pytest.raises(StaleToken):
        await RefusalsASGI(late)({"type": "http"}, None, send)
    assert len(sent) == 1
    with pytest.raises(StaleToken):
        await RefusalsASGI(early)({"type": "websocket"}, None, send)
    await RefusalsASGI(early)({"type": "http"}, None, send)
    assert [message.get("status") for message in sent] == [200, 412, None]


class Response:
    """As much of a response as is looked at."""

    def __init__(self, status_code: int, content: bytes, kind: str = "application/problem+json") -> None:
        self.status_code = status_code
        self.content = content
        self.headers = {"content-type": kind}


@pytest.mark.parametrize(
    "response",
    [
        Response(200, problem(StaleToken("primary", 7, 8))[2]),
        Response(412, problem(StaleToken("primary", 7, 8))[2], "application/json"),
        Response(412, b"{}"),
        Response(412, b"[]"),
        Response(412, b"\xff"),
        Response(412, b'{"type": "about:blank", "name": "primary", "term": "7", "highest": "8"}'),
        Response(412, problem(StaleToken("primary", 7, 8))[2].replace(b'"7"', b"7")),
        Response(412, problem(StaleToken("primary", 7, 8))[2] + b" " * 70_000),
    ],
)
def test_another_answer_is_left_to_the_program(response: Response) -> None:
    raise_if_stale(response)


def test_a_parameter_of_the_media_type_does_not_matter() -> None:
    body = problem(StaleToken("primary", 7, 8))[2]
    with pytest.raises(StaleToken):
        raise_if_stale(Response(412, body, "Application/Problem+JSON; charset=utf-8"))

"""Fencing tokens over HTTP: the field ``Fencing-Token``, who sends it, and who refuses it.

The field is an Item of RFC 9651: the name, with the term and the cell as parameters.

    Fencing-Token: "primary";term=7;cell="5f0c9a..."

A client: ``httpx.Client(auth=fencing.http.SendToken(held))``, and the same with requests. A service
compares in the transaction that has the effect, and `RefusalsASGI` or `RefusalsWSGI` make the answer 412 of
a StaleToken:

    token = fencing.http.parse_token(request.headers.get("fencing-token"))
    async with engine.begin() as connection:
        await fencing.sqlalchemy.aadmit(connection, token)
        await connection.execute(...)

A comparison in memory, or before the transaction, protects nothing: the effect could come after a later
one's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from paxlock.errors import ConfigError, PaxlockError, StaleToken
from paxlock.fencing.token import FencingToken, Token, cell_of, check, parse_term

__all__ = [
    "FIELD",
    "MalformedToken",
    "RefusalsASGI",
    "RefusalsWSGI",
    "SendToken",
    "format_token",
    "parse_token",
    "problem",
    "raise_if_stale",
]

FIELD = "Fencing-Token"
FIELD_MAX_CHARACTERS = 2048
PROBLEM_MAX_BYTES = 65_536
INTEGER_MAX = 10**15 - 1  # of RFC 9651, section 3.3.1: longer terms are sent as a String
STALE_TYPE = "tag:paxlock,2026:stale-token"

_STRING = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
_DISPLAY = r'%"((?:[ !#$&-~]|%[0-9a-f]{2})*)"'
_FIELD = re.compile(
    rf" *(?:{_STRING}|{_DISPLAY}); *term=(?:([1-9][0-9]{{0,14}})|{_STRING})(?:; *cell={_STRING})? *"
)
_PLAIN = set(range(0x20, 0x7F)) - set(b'%"')  # of a Display String (RFC 9651, section 4.1.11)


class MalformedToken(PaxlockError, ValueError):
    """A request's Fencing-Token is missing or malformed: the answer is 400."""


def format_token(token: Token) -> str:
    """The value of the field. Raises LeaseLost where the lease is over by its own clock."""
    check(token)
    term = str(token.term) if token.term <= INTEGER_MAX else f'"{token.term}"'
    cell = f";cell={_quoted(cell_of(token))}" if cell_of(token) else ""
    return f"{_quoted(token.name)};term={term}{cell}"


def parse_token(value: str | None) -> FencingToken:
    """The token in a field's value, exactly as `format_token` writes it. Raises MalformedToken, also for
    None.
    """
    if value is None:
        raise MalformedToken(f"the field {FIELD} is missing: send the token of the lease with each request")
    match = _FIELD.fullmatch(value) if len(value) <= FIELD_MAX_CHARACTERS else None
    if match is None:
        raise MalformedToken(f'{FIELD}: {value[:80]!r} is not of the form "name";term=7;cell="id"')
    text, display, integer, digits, cell = match.groups()
    try:
        name = unquote_to_bytes(display).decode() if text is None else _unquoted(text)
        term = parse_term(integer or digits)
        if digits is not None and term <= INTEGER_MAX:
            raise ConfigError("the term fits an Integer, and has to be one")
        return FencingToken(name, term, _unquoted(cell or ""))
    except (ConfigError, UnicodeDecodeError) as error:
        raise MalformedToken(f"{FIELD}: {value[:80]!r}: {error}") from None


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable():
        return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'
    escaped = (chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in text.encode())
    return '%"' + "".join(escaped) + '"'


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


class SendToken:
    """Adds the token to each request: an ``auth`` for httpx (blocking or not) and for requests.

    A request after the end of the lease raises LeaseLost, and is not sent.
    """

    def __init__(self, held: Token) -> None:
        self._held = held

    def __call__(self, request: Any) -> Any:
        """Set the field; for httpx and requests to call."""
        request.headers[FIELD] = format_token(self._held)
        return request


def raise_if_stale(response: Any) -> None:
    """Raise StaleToken where a response of httpx or requests is the 412 of a stale token."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != 412 or kind != "application/problem+json":
        return
    if len(response.content) > PROBLEM_MAX_BYTES:
        return
    try:
        body = json.loads(response.content)
        if body["type"] != STALE_TYPE or not isinstance(body["name"], str):
            return
        stale = StaleToken(body["name"], parse_term(body["term"]), parse_term(body["highest"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    raise stale


def problem(error: StaleToken | MalformedToken) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, header fields, body) of the answer to such a request, as RFC 9457 has it."""
    if isinstance(error, StaleToken):
        status, title = 412, "Stale fencing token"
        # Terms as strings: many readers of JSON take numbers for doubles, exact up to 2^53.
        more = {
            "type": STALE_TYPE,
            "name": error.name,
            "term": str(error.term),
            "highest": str(error.highest),
        }
    else:
        status, title, more = 400, "Malformed fencing token", {}
    body = json.dumps({"title": title, "status": status, "detail": str(error), **more}).encode()
    fields = [("content-type", "application/problem+json"), ("content-length", str(len(body)))]
    return status, fields, body


class RefusalsASGI:
    """Middleware that answers for StaleToken (412) and MalformedToken (400) that a handler let out.

    It compares nothing: that is for the handler, in its transaction.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, or whatever else the server has."""
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (StaleToken, MalformedToken) as error:
            if scope["type"] != "http" or started:
                raise
            status, fields, body = problem(error)
            headers = [(name.encode(), value.encode()) for name, value in fields]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})


class RefusalsWSGI:
    """`RefusalsASGI` for WSGI. What a handler raises after it returned its body is not answered for."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """One request."""
        try:
            return self._app(environ, start_response)
        except (StaleToken, MalformedToken) as error:
            status, fields, body = problem(error)
            reason = {400: "Bad Request", 412: "Precondition Failed"}[status]
            start_response(f"{status} {reason}", fields)
            return [body]

"""A guard for S3 and stores that speak its conditional writes, with boto3.

    guard = fencing.s3.ManifestGuard(client, "bucket", "report/manifest.json", held)
    guard.claim()                                              # once, when the lease is acquired
    client.put_object(Bucket="bucket", Key=f"report/{guard.folder}/part-1", Body=body)
    guard.update(lambda data: {"parts": [f"{guard.folder}/part-1"]})

One small manifest says what counts. It has the term in its body and is written with If-Match, so that a stale
holder cannot replace it; large objects are written beside, under a prefix of the term, where no other holder
writes, and count once the manifest names them. Objects that no manifest names are not protected, nor removed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import attrs

from paxlock.errors import ConfigError, PaxlockError
from paxlock.fencing.token import Token, cell_of, check, judge, parse_term, unclaimed

__all__ = ["ManifestContended", "ManifestGuard"]

TRIES_MAX = 10
TERM_DIGITS = 19

_PRECONDITION_FAILED, _CONFLICT, _NOT_FOUND = 412, 409, 404


class ManifestContended(PaxlockError):
    """The manifest was written by somebody else at every try, and none of them had a later term."""


class ManifestGuard:
    """The manifest at one key of a bucket, as the holder of a lease may write it."""

    def __init__(self, client: Any, bucket: str, key: str, held: Token) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._held = held

    @property
    def folder(self) -> str:
        """The term with 19 digits, so that folders sort by it: for the objects that this holder writes."""
        return f"{self._held.term:0{TERM_DIGITS}d}"

    def claim(self) -> Any:
        """Write the manifest with this term, and give its data: None where it is new.

        From then on older holders cannot write it. Raises StaleToken if a later one has claimed.
        """
        return self._write(lambda data: data, first=True)

    def update(self, change: Callable[[Any], Any]) -> Any:
        """Replace the manifest's data, which JSON can hold, by what ``change`` makes of it; gives the new
        data.

        ``change`` is called again where another task of this holder has written in between. Raises StaleToken
        if a later holder has claimed, ManifestContended if others were first ten times.
        """
        return self._write(change, first=False)

    def read(self) -> Any:
        """The data, as of now, if the term is the highest."""
        found = self._read()
        if not found.is_ours:
            raise unclaimed(self._held, self._where)
        return found.data

    @property
    def _where(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    def _write(self, change: Callable[[Any], Any], *, first: bool) -> Any:
        ours, data = "", None
        for _ in range(TRIES_MAX):
            check(self._held)
            found = self._read()
            if ours and found.write == ours:
                return data  # it was written after all: the client has sent it twice, and the second failed
            if not first and not found.is_ours:
                raise unclaimed(self._held, self._where)
            ours, data = secrets.token_hex(8), change(found.data)
            if self._put(data, ours, found.etag):
                return data
        raise ManifestContended(f"{self._where} was written by others at {TRIES_MAX} tries: try again")

    def _read(self) -> _Manifest:
        """What is there. Raises StaleToken where a later holder has claimed."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key)
        except self._client.exceptions.ClientError as error:
            if _status(error) == _NOT_FOUND and error.response["Error"]["Code"] == "NoSuchKey":
                return _Manifest()
            raise
        with found["Body"] as body:
            try:
                manifest = json.loads(body.read())
                # The term is a string: many readers of JSON take numbers for doubles, exact up to 2^53.
                name, cell, term, write = (
                    manifest["paxlock"][part] for part in ("name", "cell", "term", "write")
                )
                highest = parse_term(term)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigError(f"{self._where} is not a manifest of paxlock: give another key") from None
        if name != self._held.name:
            raise ConfigError(f"{self._where} is the manifest of {name!r}, not of {self._held.name!r}")
        is_ours = judge(self._held, cell, highest, self._where)
        return _Manifest(manifest.get("data"), found["ETag"], write, is_ours)

    def _put(self, data: Any, write: str, etag: str | None) -> bool:
        """Write if the object is still the one that was read. False: it is not, or another is being
        written.
        """
        token = {"name": self._held.name, "cell": cell_of(self._held), "term": str(self._held.term)}
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key,
                Body=json.dumps({"paxlock": {**token, "write": write}, "data": data}).encode(),
                ContentType="application/json",
                **condition,
            )
        except self._client.exceptions.ClientError as error:
            # 404: what was to be replaced is deleted.
            if _status(error) in (_PRECONDITION_FAILED, _CONFLICT, _NOT_FOUND):
                return False
            raise
        return True


@attrs.frozen
class _Manifest:
    """A manifest as it was read; the default is none at all. ``write`` is another for each write."""

    data: Any = None
    etag: str | None = None
    write: str | None = None
    is_ours: bool = False


def _status(error: Any) -> int:
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status

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
from collections.abc import Callable
from typing import Any

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
        data, etag, known = self._read()
        if etag is None or not known:
            raise unclaimed(self._held, self._where)
        return data

    @property
    def _where(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    def _write(self, change: Callable[[Any], Any], *, first: bool) -> Any:
        for _ in range(TRIES_MAX):
            check(self._held)
            data, etag, known = self._read()
            if not first and not known:
                raise unclaimed(self._held, self._where)
            data = change(data)
            if self._put(data, etag):
                return data
        raise ManifestContended(f"{self._where} was written by others at {TRIES_MAX} tries: try again")

    def _read(self) -> tuple[Any, str | None, bool]:
        """(data, ETag or None where there is none, whether the term is ours). Raises for a later one."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key)
        except self._client.exceptions.ClientError as error:
            if _status(error) == _NOT_FOUND and error.response["Error"]["Code"] == "NoSuchKey":
                return None, None, False
            raise
        with found["Body"] as body:
            try:
                manifest = json.loads(body.read())
                # The term is a string: many readers of JSON take numbers for doubles, exact up to 2^53.
                name, cell, term = (manifest["paxlock"][part] for part in ("name", "cell", "term"))
                highest = parse_term(term)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigError(f"{self._where} is not a manifest of paxlock: give another key") from None
        if name != self._held.name:
            raise ConfigError(f"{self._where} is the manifest of {name!r}, not of {self._held.name!r}")
        return manifest.get("data"), found["ETag"], judge(self._held, cell, highest, self._where)

    def _put(self, data: Any, etag: str | None) -> bool:
        """Write if the object is still the one that was read. False: it is not, or another write is under
        way.
        """
        token = {"name": self._held.name, "cell": cell_of(self._held), "term": str(self._held.term)}
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key,
                Body=json.dumps({"paxlock": token, "data": data}).encode(),
                ContentType="application/json",
                **condition,
            )
        except self._client.exceptions.ClientError as error:
            # 404: what was to be replaced is deleted.
            if _status(error) in (_PRECONDITION_FAILED, _CONFLICT, _NOT_FOUND):
                return False
            raise
        return True


def _status(error: Any) -> int:
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status

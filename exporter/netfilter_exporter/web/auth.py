"""Who may ask, and how often: stands before the pages, as --web.config.file says."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.web.config import RateLimit
from netfilter_exporter.web.connection import Answer, Application
from netfilter_exporter.web.http import HttpError, Request, Response
from netfilter_exporter.web.passwords import Passwords
from netfilter_exporter.web.web_file import WebFile

_UNAUTHORIZED = Response(
    401,
    b"unauthorized\n",
    headers=(("WWW-Authenticate", 'Basic realm="netfilter_exporter", charset="UTF-8"'),),
)


class Credentials(NamedTuple):
    """What a request shows."""

    user: bytes
    password: bytes


class Guard:
    """An application that lets through to another what the file allows."""

    def __init__(self, application: Application, file: WebFile) -> None:
        self._application = application
        self._file = file
        self._passwords = Passwords()
        self._known = Bucket(RateLimit())
        #: For requests without a password that was right before: guesses do not use up the limit
        #: of those who are known.
        self._unknown = Bucket(RateLimit())

    @property
    def hashing(self) -> bool:
        """Whether a hash is being computed, which nothing can interrupt."""
        return self._passwords.hashing

    def close(self) -> None:
        """Let in only who is known; who waits for a hash gets 503 now."""
        self._passwords.close()

    def __call__(self, request: Request) -> Answer:
        config = self._file.current().config
        users = {name.encode(): hashed.encode() for name, hashed in config.users}
        shown = _credentials(request) if users else None
        known = not users or (shown is not None and self._passwords.remembers(users, *shown))
        self._limit(config.rate_limit, known=known)
        if not users and not config.http.headers:
            return self._application(request)
        headers = dict(config.http.headers)
        return asyncio.ensure_future(self._answer(request, users, shown, headers))

    def _limit(self, limit: RateLimit, *, known: bool) -> None:
        """Take a token; raise `HttpError` 429 where there is none."""
        if limit != self._known.limit:
            self._known, self._unknown = Bucket(limit), Bucket(limit)
        if not (self._known if known else self._unknown).allows():
            raise HttpError(429, "too many requests")

    async def _answer(
        self,
        request: Request,
        users: Mapping[bytes, bytes],
        shown: Credentials | None,
        headers: Mapping[str, str],
    ) -> Response:
        try:
            if users and not (shown and await self._passwords.right(users, *shown, request.peer)):
                response = _UNAUTHORIZED
            else:
                answer = self._application(request)
                response = answer if isinstance(answer, Response) else await answer
        except HttpError as error:
            response = error.response()
        # What the file sets replaces what a page sets itself.
        own = tuple(pair for pair in response.headers if pair[0] not in headers)
        return response._replace(headers=(*own, *headers.items()))


def _credentials(request: Request) -> Credentials | None:
    """Return what the Authorization header of a request shows; None where it is not Basic."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return Credentials(user, password) if colon else None


class Bucket:
    """A token bucket: a request takes a token, and one comes back each `limit.interval`."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._at = clock()

    def allows(self) -> bool:
        """Take a token, if there is one."""
        if not self.limit.interval:
            return True
        now = self._clock()
        gained = (now - self._at) / self.limit.interval
        self._tokens, self._at = min(self._tokens + gained, self.limit.burst), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

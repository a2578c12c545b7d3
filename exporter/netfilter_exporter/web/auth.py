"""Who may ask, and how often: stands before the pages, as --web.config.file says."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping
from typing import Callable

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


class Guard:
    """An application that lets through to another what the file allows."""

    def __init__(self, application: Application, file: WebFile) -> None:
        self._application = application
        self._file = file
        self._passwords = Passwords()
        self._bucket = Bucket(RateLimit())

    def close(self) -> None:
        self._passwords.close()

    def __call__(self, request: Request) -> Answer:
        config = self._file.current().config
        if config.rate_limit != self._bucket.limit:
            self._bucket = Bucket(config.rate_limit)
        if not self._bucket.allows():
            raise HttpError(429, "too many requests")
        if not config.users and not config.http.headers:
            return self._application(request)
        users = {name.encode(): hashed.encode() for name, hashed in config.users}
        headers = dict(config.http.headers)
        return asyncio.ensure_future(self._answer(request, users, headers))

    async def _answer(
        self, request: Request, users: Mapping[bytes, bytes], headers: Mapping[str, str]
    ) -> Response:
        try:
            if users and not await self._knows(request, users):
                response = _UNAUTHORIZED
            else:
                answer = self._application(request)
                response = answer if isinstance(answer, Response) else await answer
        except HttpError as error:
            response = error.response()
        # What the file sets replaces what a page sets itself.
        own = tuple(pair for pair in response.headers if pair[0] not in headers)
        return response._replace(headers=(*own, *headers.items()))

    async def _knows(self, request: Request, users: Mapping[bytes, bytes]) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return bool(colon) and await self._passwords.right(users, user, password)


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

"""Checks passwords against bcrypt hashes: in a thread, one by one, in turn for each peer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import functools
import hashlib
import importlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Callable, Protocol, cast

from netfilter_exporter.web.fair_queue import FairQueue, lane_of
from netfilter_exporter.web.http import HttpError

_REMEMBERED = 256
_WAITING = 64  #: checks that are waited for: four seconds in all, at a cost of 10

#: bcrypt reads no more of a password, and newer versions of the package refuse a longer one.
_PASSWORD_BYTES = 72


class _Bcrypt(Protocol):
    def checkpw(self, password: bytes, hashed_password: bytes) -> bool: ...


def import_bcrypt() -> _Bcrypt:
    """Return the package bcrypt; raises ImportError if this optional package is not installed."""
    return cast("_Bcrypt", importlib.import_module("bcrypt"))


@dataclasses.dataclass(eq=False)
class _Check:
    """A password that is to be checked, and how many requests wait for that."""

    digest: bytes
    run: Callable[[], bool]
    result: asyncio.Future[bool]
    waiting: int = 0

    def is_abandoned(self) -> bool:
        return not self.waiting

    async def wait(self) -> bool:
        self.waiting += 1
        try:
            return await asyncio.shield(self.result)  # who leaves cancels only its own waiting
        finally:
            self.waiting -= 1

    def fail(self, error: HttpError) -> None:
        self.result.set_exception(error)
        self.result.exception()  # nobody may be left to retrieve it


class Passwords:
    """Knows who has shown the right password, and who a wrong one."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, bool] = OrderedDict()
        #: Apart from the right ones, so that guesses do not drive those out.
        self._wrong: OrderedDict[bytes, bool] = OrderedDict()
        self._pending: dict[bytes, _Check] = {}
        self._queue: FairQueue[_Check] = FairQueue(_WAITING)
        # One thread: a flood of guesses takes one processor at most. bcrypt releases the GIL.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "bcrypt")
        self._hash: concurrent.futures.Future[bool] | None = None  #: the last that it computes
        self._hashed: asyncio.Future[bool] | None = None  #: the same, for the event loop
        self._closed = False

    @property
    def hashing(self) -> bool:
        """Whether the thread computes a hash, which nothing can interrupt."""
        return self._hash is not None and not self._hash.done()

    def close(self) -> None:
        """Give up all checks; who waits for one gets 503 now, and not after it."""
        self._closed = True
        if self._hashed:
            self._hashed.cancel()  # its end comes when no loop may run any more
        for check in [*self._pending.values()]:
            self._drop(check, "stopping")
        self._thread.shutdown(wait=False)

    def remembers(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        """Return whether `password` was right when it was checked before."""
        return self._digest(users, user, password) in self._right

    async def right(
        self, users: Mapping[bytes, bytes], user: bytes, password: bytes, peer: str
    ) -> bool:
        """Return whether `password` is that of `user`, whose hash is in `users`.

        Raises `HttpError` where too many passwords wait. `peer` is the address that shows it.
        """
        digest = self._digest(users, user, password)
        known = self._right.get(digest, self._wrong.get(digest))
        if known is not None:
            return known
        check = self._pending.get(digest) or self._enqueue(
            digest, functools.partial(_check, users, user, password), lane_of(peer)
        )
        return await check.wait()

    def _enqueue(self, digest: bytes, run: Callable[[], bool], lane: str) -> _Check:
        """Have a password checked, for all who show the same at the same time."""
        if self._closed:
            raise HttpError(503, "stopping")
        check = _Check(digest, run, asyncio.get_running_loop().create_future())
        self._pending[digest] = check
        given_up = self._queue.push(lane, check)
        if given_up:
            self._drop(given_up, "too many passwords to check, try again later")
        self._begin_next()
        return check

    def _drop(self, check: _Check, text: str) -> None:
        del self._pending[check.digest]
        check.fail(HttpError(503, text))

    def _begin_next(self) -> None:
        if self._queue and not self.hashing and not self._closed:
            check = self._queue.pop()
            self._hash = self._thread.submit(check.run)
            self._hashed = asyncio.wrap_future(self._hash)
            self._hashed.add_done_callback(functools.partial(self._checked, check))

    def _checked(self, check: _Check, done: asyncio.Future[bool]) -> None:
        if done.cancelled():  # closed, and all checks are dropped
            return
        del self._pending[check.digest]
        if error := done.exception():
            check.result.set_exception(error)
        else:
            self._remember(check.digest, right=done.result())
            check.result.set_result(done.result())
        self._begin_next()

    def _remember(self, digest: bytes, *, right: bool) -> None:
        memory = self._right if right else self._wrong
        memory[digest] = right
        if len(memory) > _REMEMBERED:
            memory.popitem(last=False)

    def _digest(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bytes:
        """Return what stands for a password in memory: neither itself nor anything like it."""
        stored = users.get(user, b"")
        return _keyed(self._key, user, stored, password[:_PASSWORD_BYTES])


def _check(users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
    """Check `password` against the hash of `user`, in the time that an unknown user takes too.

    An unknown user has a cost of one of `users`, always the same. So the time says which costs
    there are, and not who is known; and nobody waits for the cost of another's hash.
    """
    bcrypt = import_bcrypt()
    stored = users.get(user)
    shown = password[:_PASSWORD_BYTES]
    valid = b"\0" not in shown  # older versions of the package raise at one
    right = bcrypt.checkpw(shown if valid else b"", stored or _fake(users, user))
    return right and valid and stored is not None


def _fake(users: Mapping[bytes, bytes], user: bytes) -> bytes:
    """Return a hash that no password has; the file's hashes decide which cost `user` has."""
    hashes = sorted(users.values())
    secret = hashlib.blake2b(b"".join(hashes)).digest()
    number = int.from_bytes(_keyed(secret, user), "big")
    return hashes[number % len(hashes)][:7] + b"." * 53


def _keyed(key: bytes, *parts: bytes) -> bytes:
    keyed = hashlib.blake2b(key=key, digest_size=32)
    for part in parts:
        keyed.update(len(part).to_bytes(8, "big") + part)
    return keyed.digest()

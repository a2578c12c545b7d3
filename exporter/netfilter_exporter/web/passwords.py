"""Checks passwords against bcrypt hashes: in a thread, and for as long, whoever asks."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Protocol, cast

from netfilter_exporter.web.http import HttpError

_REMEMBERED = 256
_WAITING = 16  #: checks that are waited for: a second in all, at the usual cost

#: bcrypt reads no more of a password, and newer versions of the package refuse a longer one.
_PASSWORD_BYTES = 72


class _Bcrypt(Protocol):
    def checkpw(self, password: bytes, hashed_password: bytes) -> bool: ...


def import_bcrypt() -> _Bcrypt:
    """Return the package bcrypt; raises ImportError where this optional package is not there."""
    return cast("_Bcrypt", importlib.import_module("bcrypt"))


class Passwords:
    """Knows who has shown the right password, and who a wrong one."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, bool] = OrderedDict()
        #: Apart from the right ones, so that guesses do not drive those out.
        self._wrong: OrderedDict[bytes, bool] = OrderedDict()
        self._pending: dict[bytes, asyncio.Future[bool]] = {}
        # One thread: a flood of guesses takes one processor at most. bcrypt releases the GIL.
        self._thread = ThreadPoolExecutor(1, "bcrypt")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def right(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        """Tell whether `password` is that of `user`, whose hash is in `users`."""
        stored = users.get(user)
        digest = self._digest(user, stored or b"", password)
        known = self._right.get(digest, self._wrong.get(digest))
        if known is None:
            known = await self._check(digest, lambda: _takes_as_long(users, stored, password))
        return known

    def _check(self, digest: bytes, check: Callable[[], bool]) -> asyncio.Future[bool]:
        """Return the future of a check, shared by those who show the same at the same time."""
        future = self._pending.get(digest)
        if future is None:
            if len(self._pending) >= _WAITING:
                raise HttpError(503, "too many passwords to check, try again later")
            future = asyncio.get_running_loop().run_in_executor(self._thread, check)
            self._pending[digest] = future
            future.add_done_callback(lambda done: self._checked(digest, done))
        # Who leaves cancels only its own waiting.
        return asyncio.shield(future)

    def _checked(self, digest: bytes, done: asyncio.Future[bool]) -> None:
        del self._pending[digest]
        if done.cancelled() or done.exception():
            return
        memory = self._right if done.result() else self._wrong
        memory[digest] = done.result()
        if len(memory) > _REMEMBERED:
            memory.popitem(last=False)

    def _digest(self, *parts: bytes) -> bytes:
        """Return what stands for `parts` in memory: neither passwords nor anything like them."""
        keyed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            keyed.update(len(part).to_bytes(8, "big") + part)
        return keyed.digest()


def _takes_as_long(users: Mapping[bytes, bytes], stored: bytes | None, password: bytes) -> bool:
    """Check `password` in the time that the costliest of `users` takes, known or not.

    A hash of cost n takes 2^n rounds. 2^n, and then 2^n + 2^(n+1) + ... + 2^(m-1), is 2^m.
    """
    bcrypt = import_bcrypt()
    valid = b"\0" not in password  # older versions of the package raise at one
    shown = password[:_PASSWORD_BYTES] if valid else b""
    most = max(map(_cost, users.values()))
    right = bcrypt.checkpw(shown, stored or _fake(most))
    for cost in range(_cost(stored) if stored else most, most):
        bcrypt.checkpw(shown, _fake(cost))
    return right and valid and stored is not None


def _cost(hashed: bytes) -> int:
    return int(hashed[4:6])


def _fake(cost: int) -> bytes:
    """Return a hash that is nobody's."""
    return b"$2b$%02d$" % cost + b"." * 53

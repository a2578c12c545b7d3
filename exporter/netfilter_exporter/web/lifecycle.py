"""/-/reload: reading the configuration again on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Callable

from netfilter_exporter.web.http import HttpError, Request, Response
from netfilter_exporter.web.origin import is_of_another_site


class ReloadPage:
    """Reloads, and answers whether that succeeded."""

    def __init__(self, reload: Callable[[], Awaitable[bool]]) -> None:
        self._reload = reload

    def __call__(self, request: Request) -> asyncio.Future[Response]:
        """Return the answer to come; raise `HttpError` for a page of another site."""
        if is_of_another_site(request):
            raise HttpError(403, "refused: sent by a web page")
        return asyncio.ensure_future(self._respond())

    async def _respond(self) -> Response:
        if await self._reload():
            return Response(200, b"reloaded configuration\n")
        # The reason names files and what is in them, which is not for a peer.
        return Response(500, b"failed to reload: the log of the exporter has the reason\n")

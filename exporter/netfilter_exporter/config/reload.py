"""Reading the configuration again while serving: SIGHUP, and /-/reload."""

from __future__ import annotations

import asyncio
import logging
from typing import Callable

from netfilter_exporter.config.model import Config, ConfigError, load
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.web.http import HttpError, Request, Response
from netfilter_exporter.web.origin import is_of_another_site
from netfilter_exporter.web.web_file import WebFile

_log = logging.getLogger(__name__)


class Reloader:
    """Reads --config.file and --web.config.file again; what is bad changes nothing."""

    def __init__(
        self,
        config_file: str | None,
        web_file: WebFile,
        apply: Callable[[Config], None],
        reload_status: ReloadStatus,
    ) -> None:
        self._config_file = config_file
        self._web_file = web_file
        self._apply = apply
        self._reload_status = reload_status
        self._lock = asyncio.Lock()
        self._signalled: set[asyncio.Future[bool]] = set()

    def on_signal(self) -> None:
        """Reload, and report to the log alone."""
        task = asyncio.ensure_future(self._reload())
        self._signalled.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._signalled.discard)

    def answer(self, request: Request) -> asyncio.Future[Response]:
        """Reload, and answer whether it succeeded; raise `HttpError` for a page of another site."""
        if is_of_another_site(request):
            raise HttpError(403, "refused: sent by a web page")
        return asyncio.ensure_future(self._respond())

    async def _respond(self) -> Response:
        if await self._reload():
            return Response(200, b"configuration read again\n")
        # The reason names files and what is in them, which is not for a peer.
        return Response(500, b"failed to reload: the log of the exporter has the reason\n")

    async def _reload(self) -> bool:
        """Read both files; return whether they are good."""
        async with self._lock:
            try:
                # Not in the loop's thread: a scrape does not wait for YAML.
                await asyncio.get_running_loop().run_in_executor(None, self._read)
            except ConfigError as error:
                _log.error("the old configuration stays: %s", error)
                return False
        _log.info("configuration read again")
        return True

    def _read(self) -> None:
        with self._reload_status.reading("config"):
            config = load(self._config_file) if self._config_file else Config()
        self._web_file.reload()
        self._apply(config)

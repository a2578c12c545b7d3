"""Reading the configuration again while serving: SIGHUP, and /-/reload."""

from __future__ import annotations

import asyncio
import logging
from typing import Callable

from netfilter_exporter.config.model import Config, ConfigError, load
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.web.http import Request, Response
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
        self._signalled: set[asyncio.Future[ConfigError | None]] = set()

    def on_signal(self) -> None:
        """Reload, and tell the log alone."""
        task = asyncio.ensure_future(self._reload())
        self._signalled.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._signalled.discard)

    def answer(self, _: Request) -> asyncio.Future[Response]:
        """Reload, and tell who asked for it too."""
        return asyncio.ensure_future(self._respond())

    async def _respond(self) -> Response:
        error = await self._reload()
        if error:
            return Response(500, f"failed to reload: {error}\n".encode())
        return Response(200, b"configuration read again\n")

    async def _reload(self) -> ConfigError | None:
        async with self._lock:
            try:
                # Not in the loop's thread: a scrape does not wait for YAML.
                await asyncio.get_running_loop().run_in_executor(None, self._read)
            except ConfigError as error:
                _log.error("the old configuration stays: %s", error)
                return error
        _log.info("configuration read again")
        return None

    def _read(self) -> None:
        with self._reload_status.reading("config"):
            config = load(self._config_file) if self._config_file else Config()
        self._web_file.reload()
        self._apply(config)

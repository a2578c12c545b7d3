"""Reading the configuration again while serving."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

from netfilter_exporter.config.model import Config, ConfigError, load
from netfilter_exporter.config.reload_status import ReloadStatus

_log = logging.getLogger(__name__)


class Reloader:
    """Reads --config.file and --web.config.file again; what is bad changes nothing."""

    def __init__(
        self,
        config_file: str | None,
        read_web: Callable[[], None],
        apply: Callable[[Config], None],
        reload_status: ReloadStatus,
    ) -> None:
        """`read_web` reads --web.config.file again; `apply` takes a new configuration."""
        self._config_file = config_file
        self._read_web = read_web
        self._apply = apply
        self._reload_status = reload_status
        self._lock = asyncio.Lock()
        # Not the default executor, which starts another thread where the last has not said in time
        # that it is idle.
        self._thread = ThreadPoolExecutor(1, "reload")
        self._signalled: set[asyncio.Future[bool]] = set()

    def on_signal(self) -> None:
        """Reload, and report to the log alone."""
        task = asyncio.ensure_future(self.reload())
        self._signalled.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._signalled.discard)

    async def reload(self) -> bool:
        """Read both files; return whether they are good."""
        async with self._lock:
            try:
                # Not in the loop's thread: a scrape does not wait for YAML.
                await asyncio.get_running_loop().run_in_executor(self._thread, self._read)
            except ConfigError as error:
                _log.error("kept the previous configuration: %s", error)
                return False
        _log.info("reloaded configuration")
        return True

    def _read(self) -> None:
        with self._reload_status.reading("config"):
            config = load(self._config_file) if self._config_file else Config()
        self._read_web()
        self._apply(config)

"""--web.config.file as it is now: read again when it, or a file that it names, has changed.

Without a signal, as exporter-toolkit does it: whoever renews certificates need not know of us.
"""

from __future__ import annotations

import logging
import os
import time
from typing import NamedTuple

from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.config.yaml_reader import ConfigError
from netfilter_exporter.web import config as web_config
from netfilter_exporter.web import tls
from netfilter_exporter.web.config import WebConfig
from netfilter_exporter.web.passwords import import_bcrypt
from netfilter_exporter.web.tls import TlsSide

_log = logging.getLogger(__name__)

#: A file that was written less long ago may not be whole: without its end it could be good, and
#: let in everybody, or speak plain HTTP.
SETTLED_SECONDS = 1.0


class _Mark(NamedTuple):
    """What differs when a file has been written or replaced."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def settled(self) -> bool:
        return abs(time.time() - self.ctime_ns / 1e9) >= SETTLED_SECONDS


class WebSettings(NamedTuple):
    """The file, and what new connections are opened with; None is plain HTTP."""

    config: WebConfig = WebConfig()
    tls: TlsSide | None = None


class WebFile:
    """Keeps the last good reading of the file."""

    def __init__(self, path: str | None) -> None:
        """Read the file at `path`, where there is one; raises `ConfigError`."""
        self.reload_status = ReloadStatus()  #: remembers each reading
        self._path = path
        self._good = WebSettings()
        #: Of the file and those that it names, before they were last read.
        self._marks: dict[str, _Mark | None] = {}
        self.reload()

    def files(self) -> list[str]:
        """Return the paths of the file and of those that it names."""
        return list(self._marks)

    def current(self) -> WebSettings:
        """Return the settings as the files are now, or as they were when they were last good."""
        marks = {path: _mark(path) for path in self._marks}
        if marks != self._marks and all(mark is None or mark.settled() for mark in marks.values()):
            try:
                self.reload()
            except ConfigError as error:
                # New files may come one after the other: the key fits when it is there too.
                _log.error("kept the previous web configuration: %s", error)
            else:
                _log.info("reloaded web configuration")
        return self._good

    def reload(self) -> None:
        """Read the file again; where it is bad, raise `ConfigError` and keep the old settings."""
        if self._path:
            marks: dict[str, _Mark | None] = {}
            try:
                with self.reload_status.reading("web"):
                    self._good = _read(self._path, marks)
            finally:
                self._marks = marks


def _read(path: str, marks: dict[str, _Mark | None]) -> WebSettings:
    marks[path] = _mark(path)
    config = web_config.load(path)
    if config.users:
        _require_bcrypt(path)
    if config.http.http2:
        _log.warning("%s: http_server_config.http2: only HTTP/1.1 is served", path)
    if not config.tls:
        return WebSettings(config)
    marks.update((file, _mark(file)) for file in tls.files(config.tls))
    return WebSettings(config, tls.make(config.tls))


def _require_bcrypt(path: str) -> None:
    try:
        import_bcrypt()
    except ImportError:
        raise ConfigError(
            f"{path}: basic_auth_users: passwords cannot be checked without the Python package"
            " bcrypt: install netfilter_exporter[auth], or the distribution's python3-bcrypt"
        ) from None


def _mark(path: str) -> _Mark | None:
    """Return the mark of the file at `path`; None if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _Mark(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

"""The command ``netfilter_exporter``."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from prometheus_client import ProcessCollector

from netfilter_exporter import __version__, collectors, flags, logs
from netfilter_exporter.check import command
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.config import Config, ConfigError, load
from netfilter_exporter.flags import Flags
from netfilter_exporter.gather import Gatherer
from netfilter_exporter.kernel.system import System
from netfilter_exporter.snapshot import Host
from netfilter_exporter.web.listen import CannotListen, bound_address, listen
from netfilter_exporter.web.pages import Pages
from netfilter_exporter.web.scrapes import Scrapes
from netfilter_exporter.web.server import Server

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal says stop, or check once; return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if list(arguments[:1]) == ["check"]:
        return command.main(arguments[1:])
    found = collectors.load()
    chosen = flags.parse(arguments, found)
    logs.setup(chosen.log_level, chosen.log_format)
    try:
        config = load(chosen.config_file) if chosen.config_file else Config()
        if chosen.config_check:
            _log.info("the configuration is good")
            return 0
        listeners = [listen(address) for address in chosen.listen_addresses]
    except (ConfigError, CannotListen) as error:
        _log.error("%s", error)
        return 1
    _log.info("netfilter_exporter %s, collectors: %s", __version__, ", ".join(chosen.collectors))
    asyncio.run(_serve(chosen, config, found, listeners))
    return 0


async def _serve(
    chosen: Flags,
    config: Config,
    found: Mapping[str, Collector],
    listeners: Sequence[socket.socket],
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    scrapes = Scrapes(
        Gatherer(Host(System(chosen.paths), config), chosen.options | config.collectors),
        {name: found[name] for name in chosen.collectors},
        extra=ProcessCollector(registry=None).collect if chosen.exporter_metrics else tuple,
        max_requests=chosen.max_requests,
    )
    server = Server(Pages(scrapes, found, chosen.telemetry_path))
    scrapes.start()
    for listener in listeners:
        _log.info("listening on %s", bound_address(listener))
    server.start(listeners)
    await stop.wait()
    _log.info("stopping")
    await server.stop()
    scrapes.stop()

"""Serving until a signal says stop: what cli.py has chosen, put together."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Mapping, Sequence

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.config.model import Config
from netfilter_exporter.config.reload import Reloader
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.facts.flows import flow_sampler, settings
from netfilter_exporter.facts.hits import hit_sampler, named
from netfilter_exporter.facts.namespaces import namespace_sampler
from netfilter_exporter.facts.rulesets import nftables_reader
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.flags import Flags
from netfilter_exporter.flows.sampler import FlowSampler
from netfilter_exporter.hits.sampler import HitSampler
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.sampler import NamespaceSampler
from netfilter_exporter.process import ROWS, START_TIME, ProcessReader
from netfilter_exporter.sandbox.confine import Sandbox
from netfilter_exporter.web import systemd
from netfilter_exporter.web.auth import Guard
from netfilter_exporter.web.lifecycle import ReloadPage
from netfilter_exporter.web.listen import bound_address
from netfilter_exporter.web.pages import Pages
from netfilter_exporter.web.scrapes import Scrapes
from netfilter_exporter.web.server import Server
from netfilter_exporter.web.web_file import WebFile

#: The collectors that need samples.
FLOWS, NAT, NAMESPACES = "flows", "nat", "namespaces"

_log = logging.getLogger(__name__)


class Daemon:
    """The exporter as it serves."""

    def __init__(
        self,
        chosen: Flags,
        config: Config,
        web_file: WebFile,
        found: Mapping[str, Collector],
        sandbox: Sandbox,
    ) -> None:
        """`found` are all collectors; the event loop must run."""
        self._chosen = chosen
        reload_status = ReloadStatus()
        web_file.reload_status = reload_status
        self._host = Host(System(chosen.paths), config, reload_status, sandbox)
        nftables_reader(self._host).listen_up_to(chosen.listen_max_rules)
        self._gatherer = Gatherer(self._host, chosen.options | config.collectors)
        self._scrapes = Scrapes(
            self._gatherer,
            {name: found[name] for name in chosen.collectors},
            extra=ProcessReader(ROWS if chosen.exporter_metrics else (START_TIME,)).families,
            max_requests=chosen.max_requests,
        )
        self._reloader = Reloader(chosen.config_file, web_file.reload, self._apply, reload_status)
        reload = ReloadPage(self._reloader.reload) if chosen.lifecycle else None
        pages = Pages(self._scrapes, found, chosen.telemetry_path, reload)
        self._guard = Guard(pages, web_file)
        self._server = Server(self._guard, tls=lambda: web_file.current().tls)

        self._sampler = flow_sampler(self._host) if FLOWS in chosen.collectors else None
        self._hits = hit_sampler(self._host) if NAT in chosen.collectors else None
        self._namespaces = None
        if NAMESPACES in chosen.collectors:
            self._namespaces = namespace_sampler(self._host)
            self._namespaces.select(chosen.netns, chosen.netns_helper)
        self._configure_samplers(config)

    @property
    def _samplers(self) -> list[FlowSampler | HitSampler | NamespaceSampler]:
        return [sampler for sampler in (self._sampler, self._hits, self._namespaces) if sampler]

    def _configure_samplers(self, config: Config) -> None:
        if self._sampler:
            self._sampler.reconfigure(settings(config.flows, self._chosen.flows))
        if self._hits:
            self._hits.name(named(config))

    def _apply(self, config: Config) -> None:
        self._configure_samplers(config)
        host = self._host.configured(config)
        self._gatherer.reconfigure(host, self._chosen.options | config.collectors)

    async def serve(self, listeners: Sequence[socket.socket], manager: systemd.Manager) -> bool:
        """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

        Returns whether a thread is left that computes a hash.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reloader.on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # which cli.py has held
        self._scrapes.start()
        for sampler in self._samplers:
            sampler.start()
        for listener in listeners:
            _log.info("listening on %s", bound_address(listener))
        self._server.start(listeners)
        manager.notify("READY=1")
        await stop.wait()
        _log.info("stopping")
        manager.notify("STOPPING=1")
        self._guard.close()
        await self._server.stop()
        self._scrapes.stop()
        for sampler in self._samplers:
            sampler.close()
        nftables_reader(self._host).forget()
        return self._guard.hashing

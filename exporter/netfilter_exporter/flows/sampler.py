"""Samples the flow table at intervals."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Callable

from netfilter_exporter.flows.look import Looker
from netfilter_exporter.flows.observer import Observer, Sample, Settings
from netfilter_exporter.flows.ports import PortWatch
from netfilter_exporter.flows.scope import Routes
from netfilter_exporter.kernel.sampler import Sampler


class FlowSampler(Sampler[Sample]):
    """What the collector asks: the last sample."""

    def __init__(
        self,
        looker: Looker,
        routes: Callable[[], contextlib.AbstractContextManager[Routes]],
        settings: Settings,
        ports: PortWatch | None = None,
    ) -> None:
        """`routes` opens, for one look, what answers for routes; without `ports` none are seen."""
        super().__init__("flows", settings.interval, settings.cpu_share)
        self._looker = looker
        self._routes = routes
        self._settings = settings
        self._observer = Observer(settings.networks)
        self._buckets: int | None = None
        self._ports = ports

    def reconfigure(self, settings: Settings) -> None:
        """Look as `settings` say from the next look on."""
        self._settings = settings
        self._least_interval, self._cpu_share = settings.interval, settings.cpu_share

    def forget(self) -> None:
        self._observer.forget()

    def take(self) -> Sample:
        settings = self._settings
        self._observer.configure(settings.networks)
        look = self._looker.look(settings.sample_size)
        if look.buckets != self._buckets:
            self._buckets = look.buckets
            self._observer.forget()
        now = time.monotonic()
        with self._routes() as routes:
            sample = self._observer.observe(look.reading, look.entries, routes, now)
        if self._ports:
            sample = dataclasses.replace(sample, ports=self._ports.take(look, now))
        return sample

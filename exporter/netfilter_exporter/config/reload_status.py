"""How the last reading of the configuration files went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from netfilter_exporter.config.yaml_reader import ConfigError


class ReloadStatus:
    """Remembers each reading after the start, which was good: otherwise no process would run."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failed: frozenset[str] = frozenset()  #: what was bad when it was last read
        self.success_time = clock()  #: when all files were last good, in seconds since the epoch

    @property
    def successful(self) -> bool:
        return not self._failed

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Read `what` in this context: a `ConfigError` that leaves it is remembered."""
        try:
            yield
        except ConfigError:
            self._failed |= {what}
            raise
        self._failed -= {what}
        if self.successful:
            self.success_time = self._clock()

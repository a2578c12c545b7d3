"""How the last reading of the configuration files went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from netfilter_exporter.config.yaml_reader import ConfigError


class ReloadStatus:
    """Is told of each reading after the start, which was good, or there were no process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failed: dict[str, str] = {}  #: what went wrong, by what was read
        self.success_time = clock()  #: when all files were last good, in seconds since the epoch

    @property
    def successful(self) -> bool:
        return not self._failed

    @property
    def problems(self) -> list[str]:
        """What is wrong with the files that were bad when they were last read."""
        return list(self._failed.values())

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Read `what` in this context: a `ConfigError` that leaves it is remembered."""
        try:
            yield
        except ConfigError as error:
            self._failed = {**self._failed, what: str(error)}
            raise
        self._failed = {name: text for name, text in self._failed.items() if name != what}
        if self.successful:
            self.success_time = self._clock()

"""Which namespaces are reported: patterns of their names."""

from __future__ import annotations

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Selection:
    """Patterns that match a whole name; without one, every namespace is reported."""

    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None

    def has(self, name: str) -> bool:
        """Return whether a namespace of this name is reported; `exclude` wins."""
        if self.include and not self.include.fullmatch(name):
            return False
        return not (self.exclude and self.exclude.fullmatch(name))

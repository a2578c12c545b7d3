"""Sysctls of connection tracking and forwarding: current and desired values.

Source: /proc/sys/net, which is that of the reader's own network namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError, bare
from netfilter_exporter.kernel.files import Paths, exists, listing, read_int
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl import sysctl_d
from netfilter_exporter.kernel.sysctl.names import FIXED, Desired

_DIRECTORY = "net/netfilter"


class Reading(NamedTuple):
    """The values by key, and what could not be read; what is not a number is in neither."""

    values: Mapping[str, int]
    errors: tuple[ReadError, ...]
    listed: frozenset[str] | None = None  #: keys in _DIRECTORY; None: it cannot be listed

    def presence(self, paths: Paths, key: str) -> bool | ReadError:
        """Return whether the kernel has `key` now, or why that cannot be seen."""
        if key in self.values:
            return True
        if self.listed is not None and key.startswith(f"{_DIRECTORY}/"):
            return key in self.listed
        try:
            return exists(paths.proc("sys/" + key))
        except ReadError as error:
            return bare(error)


class Comparison(NamedTuple):
    """How a desired value compares with the current one."""

    desired: Desired
    present: bool  #: this kernel has the key now
    actual: int | None
    mismatch: bool | None  #: None: unknown, or this kernel does not have the key


class Comparisons(NamedTuple):
    """All desired, and what could not be read of them."""

    comparisons: tuple[Comparison, ...]
    errors: tuple[ReadError, ...]


def read_sysctls(paths: Paths) -> Reading:
    """Read every numeric nf_conntrack_* that this kernel has, and those of FIXED that exist."""
    values: dict[str, int] = {}
    errors: list[ReadError] = []
    root = paths.proc("sys/")
    listed = _list_directory(paths, errors)
    conntrack = (key for key in listed or () if key.startswith(sysctl_names.CONNTRACK))
    for key in (*conntrack, *FIXED):
        try:
            values[key] = kept_files.read_int(f"{root}{key}")
        except (NoData, Malformed):  # noqa: PERF203 - a call for each key costs more
            continue
        except ReadError as error:
            errors.append(bare(error))
    return Reading(values, tuple(errors), None if listed is None else frozenset(listed))


def _list_directory(paths: Paths, errors: list[ReadError]) -> list[str] | None:
    try:
        return [f"{_DIRECTORY}/{name}" for name in listing(paths.proc(f"sys/{_DIRECTORY}"))]
    except NoData:
        return []
    except ReadError as error:
        errors.append(bare(error))
        return None


def _try_int(paths: Paths, key: str) -> int | ReadError:
    try:
        return read_int(paths.proc("sys/" + key))
    except ReadError as error:
        return bare(error)


def from_sysctl_d(options: sysctl_d.Options, values: Mapping[str, int]) -> Iterable[Desired]:
    """Yield what sysctl.d asks of this kernel."""
    for key, setting in sysctl_d.settle(options.merged, sysctl_names.matchable(values)).items():
        operator = sysctl_names.operator(key)
        yield Desired(key, "sysctl.d", operator, setting.value, str(setting.origin))


def compare(
    paths: Paths,
    settings: Iterable[Desired],
    values: Mapping[str, int],
    needed: Callable[[str], bool],
) -> Comparisons:
    """Compare the desired values with the current ones.

    `values` are those of `read_sysctls`; `needed` returns whether a rule or the host's role needs a
    capability.
    """
    comparisons: list[Comparison] = []
    errors: list[ReadError] = []
    for desired in sorted(settings, key=lambda each: (each.key, each.source)):
        actual = _actual(paths, desired.key, values)
        if isinstance(actual, int):
            holds = desired.operator.holds(desired.key, actual, desired.value)
            comparisons.append(Comparison(desired, True, actual, not holds))
        elif isinstance(actual, NoData):
            comparisons.append(
                Comparison(desired, False, None, _absent_matters(desired, values, needed))
            )
        else:
            errors.append(actual)
            comparisons.append(Comparison(desired, True, None, None))
    return Comparisons(tuple(comparisons), tuple(errors))


def _actual(paths: Paths, key: str, values: Mapping[str, int]) -> int | ReadError:
    for spelling in sysctl_names.spellings(key):
        if spelling in values:
            return values[spelling]
    return _try_int(paths, key)


def _absent_matters(
    desired: Desired, values: Mapping[str, int], needed: Callable[[str], bool]
) -> bool | None:
    if sysctl_names.unknown(desired.key, values):
        return None
    if desired.source == "config":
        return True
    # Its module is not loaded, or its interface is gone: sysctl.d may set it later.
    capability = sysctl_names.capability(desired.key, values)
    return capability is not None and needed(capability)

"""Facts about conntrack helpers, which expect the connections that FTP, SIP and others announce.

Since v6.0 the kernel assigns none by itself (commit b118509076b3), before that only where the
sysctl net.netfilter.nf_conntrack_helper is 1: a rule has to.
"""

from __future__ import annotations

import re

from netfilter_exporter.facts.engines import other_engines
from netfilter_exporter.facts.modules import kernel_modules, netfilter
from netfilter_exporter.facts.rulesets import generation, rulesets
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel.errors import NoData, Unsupported
from netfilter_exporter.kernel.modules.history import HELPER, HELPERS
from netfilter_exporter.kernel.modules.model import ModuleState
from netfilter_exporter.kernel.nft.helpers import HelperObject, read_helpers
from netfilter_exporter.kernel.sysctl.names import CONNTRACK

_H323 = frozenset({"RAS", "Q.931", "H.245"})  #: the helpers of one module
#: Engines that assign helpers without a rule.
_ASSIGNING = ("openvswitch", "tc")
_PORT = re.compile(r"-\d+$")


class _Known:
    """The helper objects of a generation."""

    of: tuple[int, int] | None = None  #: the life of nf_tables, and the generation
    found: tuple[HelperObject, ...] = ()


@kept
def _known(_: Host) -> _Known:
    return _Known()


@fact
def unassigned_helpers(snapshot: Snapshot) -> tuple[str, ...]:
    """The helpers that are there for use and that no rule assigns, where rules translate.

    Those whose module was loaded, and those of objects in nftables that no rule refers to. None
    where another part of the host may assign them, or a ruleset could not be read.
    """
    facts = [ruleset.facts for ruleset in rulesets(snapshot)]
    translating = [each for each in facts if each and any(each.rules.values())]
    if None in facts or not translating or not _is_in_question(snapshot):
        return ()
    objects = _objects(snapshot)
    assigned = {_plain(name) for each in facts if each for name in each.helpers}
    assigned |= {_plain(each.helper) for each in objects if each.used}
    wanted = _loaded(snapshot) | {_plain(each.helper) for each in objects}
    return tuple(sorted(wanted - assigned))


def _is_in_question(snapshot: Snapshot) -> bool:
    """Return whether there are helpers, and only rules assign them."""
    modules, engines = kernel_modules(snapshot), other_engines(snapshot)
    return (
        any(modules.usable(HELPER + name) for name in HELPERS)
        and not any(engines.get(name) for name in _ASSIGNING)
        and sysctls(snapshot).values.get(CONNTRACK + "helper") != 1
    )


def _loaded(snapshot: Snapshot) -> set[str]:
    """Return the helpers that somebody has loaded: one that is built in says nothing."""
    known = kernel_modules(snapshot).known
    states = {name: known[HELPER + name].state for name in HELPERS}
    return {name for name, state in states.items() if state is ModuleState.LOADED}


def _objects(snapshot: Snapshot) -> tuple[HelperObject, ...]:
    """Return the helper objects of nftables, read again when the ruleset has changed."""
    known = _known(snapshot.host)
    try:
        current = generation(snapshot)
    except NoData:  # no nf_tables
        return ()
    if known.of != current:
        try:
            known.found = tuple(read_helpers(netfilter(snapshot, "nf_tables")))
        except Unsupported:
            known.found = ()
        known.of = current
    return known.found


def _plain(name: str) -> str:
    """Return the name without the port that is not the usual one, as `HELPERS` has it."""
    plain = _PORT.sub("", name)
    return "h323" if plain in _H323 else plain

"""Checks of sysctls that somebody asks for."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands
from netfilter_exporter.check.findings import Found, Value
from netfilter_exporter.check.look import Look
from netfilter_exporter.kernel import sysctl_names
from netfilter_exporter.kernel.errors import raise_worst
from netfilter_exporter.kernel.sysctl import Verdict


def sysctl_not_applied(look: Look) -> Iterator[Found]:
    """What sysctl.d or the configuration asks for does not hold."""
    verdicts = look.snapshot.sysctls_wanted
    for verdict in verdicts.verdicts:
        if verdict.mismatch:
            yield _mismatch(look, verdict)
    raise_worst(list(verdicts.errors))


#: What brings the names below a directory.
_MODULES = {
    sysctl_names.CONNTRACK: ("nf_conntrack", "nf_conntrack_ipv4"),
    "net/bridge/": ("br_netfilter",),
}
_MISSPELT = (
    "This kernel has no such name now: it is misspelt, or its interface or module is not there. A"
    " dot inside an interface's name is a slash: net.ipv4.conf.eth0/5.forwarding."
)


def _mismatch(look: Look, verdict: Verdict) -> Found:
    wanted = verdict.wanted
    asked = f"{wanted.comparison.value} {wanted.value}"
    evidence: dict[str, Value] = {"name": wanted.name, "wanted": asked, "asked_by": wanted.origin}
    modules = look.snapshot.modules
    if verdict.actual is None:
        summary = f"{wanted.name} is not there: {wanted.origin} asks for {asked}."
        names = next(
            (names for prefix, names in _MODULES.items() if wanted.key.startswith(prefix)), ()
        )
        if not names:
            return Found(summary, _MISSPELT, evidence, (commands.comment("correct that name"),))
        again = commands.set_sysctl(wanted.name, wanted.value, modules)
        if wanted.source == "sysctl.d":
            again = ("systemctl restart systemd-sysctl",)
        return Found(
            summary,
            "The module that brings it is not loaded, or was loaded after systemd-sysctl had run.",
            evidence,
            (*commands.load(modules, names), *again),
        )
    evidence["value"] = verdict.actual
    lines = commands.set_sysctl(wanted.name, wanted.value, modules)
    if wanted.source == "sysctl.d":  # it is asked for already: only the order may be wrong
        lines = (lines[0], *lines[2:], commands.comment(f"asked for by {wanted.origin}"))
    return Found(
        f"{wanted.name} is {verdict.actual}: {wanted.origin} asks for {asked}.",
        "A module that is loaded later starts with its own defaults, and a later file or program"
        " may have set it again.",
        evidence,
        lines,
    )


def sysctl_unknown(look: Look) -> Iterator[Found]:
    """What is asked for is a name that this kernel does not have and will not get."""
    verdicts = look.snapshot.sysctls_wanted
    for verdict in verdicts.verdicts:
        if verdict.present or verdict.mismatch is not None:
            continue
        wanted = verdict.wanted
        watched = sysctl_names.WATCHED.get(wanted.key)
        yield Found(
            f"{wanted.origin} sets {wanted.name}, which this kernel does not have.",
            watched.explanation if watched else "Its module is there, and has no such name.",
            {"name": wanted.name, "wanted": wanted.value, "asked_by": wanted.origin},
            (commands.comment(f"remove {wanted.name} from {wanted.origin}"),),
        )
    raise_worst(list(verdicts.errors))

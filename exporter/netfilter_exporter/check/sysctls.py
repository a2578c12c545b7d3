"""Checks of sysctls that sysctl.d or the configuration sets."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import FAMILY, Context
from netfilter_exporter.check.findings import Found, Value
from netfilter_exporter.facts.forwarding import ignored_advertisements, ipvs_nat
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.sysctl_comparisons import sysctl_comparisons
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel.errors import raise_worst
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl.values import Comparison
from netfilter_exporter.rules.model import Action


def sysctl_not_applied(context: Context) -> Iterator[Found]:
    """A value that sysctl.d or the configuration sets is not in effect."""
    comparisons = sysctl_comparisons(context.snapshot)
    for comparison in comparisons.comparisons:
        if comparison.mismatch:
            yield _mismatch(context, comparison)
    raise_worst(list(comparisons.errors))


#: What brings the names below a directory.
_MODULES = {
    sysctl_names.CONNTRACK: ("nf_conntrack", "nf_conntrack_ipv4"),
    sysctl_names.BRIDGE: ("br_netfilter",),
    sysctl_names.IPVS: ("ip_vs",),
}
_MISSPELT = (
    "This kernel does not have the name now: it is misspelt, or its interface or module is"
    " absent. Write a dot inside an interface name as a slash: net.ipv4.conf.eth0/5.forwarding."
)


def _mismatch(context: Context, comparison: Comparison) -> Found:
    desired = comparison.desired
    asked = f"{desired.operator.value} {desired.value}"
    evidence: dict[str, Value] = {"name": desired.name, "wanted": asked, "asked_by": desired.origin}
    modules = kernel_modules(context.snapshot)
    if comparison.actual is None:
        summary = f"{desired.name} is absent: {desired.origin} sets {asked}."
        names = next(
            (names for prefix, names in _MODULES.items() if desired.key.startswith(prefix)), ()
        )
        if not names:
            return Found(summary, _MISSPELT, evidence, (shell.comment("correct that name"),))
        again = commands.set_sysctl(desired.name, desired.value, modules)
        if desired.source == "sysctl.d":
            again = (shell.fixed("systemctl restart systemd-sysctl"),)
        return Found(
            summary,
            "Its module is not loaded, or was loaded after systemd-sysctl had run.",
            evidence,
            (*commands.load(modules, names), *again),
        )
    evidence["value"] = comparison.actual
    lines = commands.set_sysctl(desired.name, desired.value, modules)
    if desired.source == "sysctl.d":  # it is set already: only the order may be wrong
        lines = (
            commands.write_sysctl(desired.name, desired.value),
            *commands.bring_at_boot(desired.name, modules),
            shell.comment(f"set by {desired.origin}"),
        )
    return Found(
        f"{desired.name} is {comparison.actual}: {desired.origin} sets {asked}.",
        "A module that is loaded later starts with its defaults, or a later file or program has"
        " changed the value.",
        evidence,
        lines,
    )


def sysctl_unknown(context: Context) -> Iterator[Found]:
    """A sysctl is set that this kernel does not have and will not get."""
    comparisons = sysctl_comparisons(context.snapshot)
    for comparison in comparisons.comparisons:
        if comparison.present or comparison.mismatch is not None:
            continue
        desired = comparison.desired
        watched = sysctl_names.WATCHED.get(desired.key)
        yield Found(
            f"{desired.origin} sets {desired.name}, which this kernel does not have.",
            watched.explanation
            if watched
            else "Its module is present, and does not have the name.",
            {"name": desired.name, "wanted": desired.value, "asked_by": desired.origin},
            (shell.comment(f"remove {desired.name} from {desired.origin}"),),
        )
    raise_worst(list(comparisons.errors))


# -- NetfilterRouterAdvertisementsIgnored ------------------------------------------------------


def router_advertisements_ignored(context: Context) -> Iterator[Found]:
    """The IPv6 default route of an interface expires, as a router ignores advertisements."""
    for interface in ignored_advertisements(context.snapshot):
        name = sysctl_names.to_name(f"net/ipv6/conf/{interface}/accept_ra")
        yield Found(
            f"{interface} ignores router advertisements: its IPv6 default route expires.",
            "An interface that forwards accepts advertisements only with accept_ra=2. A program"
            " has enabled IPv6 forwarding.",
            {"interface": interface, name: 1},
            commands.set_sysctl(name, 2),
        )


# -- NetfilterIpvsUntracked --------------------------------------------------------------------


def ipvs_untracked(context: Context) -> Iterator[Found]:
    """IPVS keeps its connections from being tracked, and rules translate sources."""
    if sysctls(context.snapshot).values.get(sysctl_names.IPVS_CONNTRACK) != 0:
        return
    for family in sorted(ipvs_nat(context.snapshot), key=lambda each: each.value):
        actions = context.actions(family)
        rules = sum(actions[action] for action in (Action.MASQUERADE, Action.SNAT))
        if rules:
            yield Found(
                f"{FAMILY[family]}: net.ipv4.vs.conntrack is 0: rules do not translate what IPVS"
                " forwards.",
                "IPVS exempts its connections from tracking. Replies of servers without a route"
                " to the clients are then lost. Not a fault if the servers have a route.",
                {"family": family.value, "net.ipv4.vs.conntrack": 0, "rules": rules},
                commands.set_sysctl("net.ipv4.vs.conntrack", 1, kernel_modules(context.snapshot)),
            )

"""Checks of forwarding: whether the host forwards the packets that its rules translate."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import FAMILY, NEEDS_ROLE, Context
from netfilter_exporter.check.findings import Found, count, unknown
from netfilter_exporter.facts.forwarding import closed_interfaces
from netfilter_exporter.facts.sysctl_comparisons import sysctl_comparisons
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel.errors import ReadError, or_none
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.rules.families import Family

_SWITCH = {
    Family.IPV4: sysctl_names.IP_FORWARD,
    Family.IPV6: sysctl_names.IPV6_FORWARDING,
}

#: Interfaces whose switches a remedy names, before it is too long to read.
_NAMED = 16


def nat_forwarding_disabled(context: Context) -> Iterator[Found]:
    """Rules for forwarded traffic on a host that must translate and forwards nothing.

    Where no role is configured only history can decide: a rule does not make a host a router, and
    no remedy may make it one.
    """
    for family in Family:
        rules = context.forwarded_rules(family)
        if not rules or context.unwanted(family) or context.forwards(family):
            continue
        if context.required(family):
            yield _not_forwarding(context, family, rules)
        else:
            yield unknown(NEEDS_ROLE[family])


def _not_forwarding(context: Context, family: Family, rules: int) -> Found:
    summary = (
        f"{FAMILY[family]}: {count(rules, 'NAT rule')} for forwarded traffic, and no interface"
        " forwards."
    )
    evidence: dict[str, str | int] = {"family": family.value, "forwarded_rules": rules}
    key = _SWITCH[family]
    value = sysctls(context.snapshot).values.get(key)
    if value is None:
        return Found(summary, *_absent(family, key), remedy=_NO_IPV6)
    evidence[sysctl_names.to_name(key)] = value
    if value:
        return _switches(context, summary, evidence)
    return Found(
        summary,
        f"{sysctl_names.to_name(key)} is 0: the kernel drops packets for other hosts before it"
        " evaluates NAT rules. Usually 'sysctl --system' or a hardening file has reset it.",
        evidence,
        (
            *commands.set_sysctl(sysctl_names.to_name(key), 1),
            *(_KEEP_ROUTES if family is Family.IPV6 else ()),
            *_blame(context, {key}),
        ),
    )


def _absent(family: Family, key: str) -> tuple[str, dict[str, str | int]]:
    if family is Family.IPV4:
        raise ReadError(f"{sysctl_names.to_name(key)}: no value")
    return (
        f"{sysctl_names.to_name(key)} is absent: this kernel runs without IPv6.",
        {"family": family.value, sysctl_names.to_name(key): "absent"},
    )


_NO_IPV6 = (
    shell.fixed("grep -o 'ipv6.disable=[0-9]*' /proc/cmdline"),
    shell.comment("boot without ipv6.disable=1, or set nat: {ipv6: none}"),
)

_KEEP_ROUTES = (
    shell.comment("a router ignores router advertisements. If the default route comes from"),
    shell.comment("one, first run: sysctl -w net/ipv6/conf/INTERFACE/accept_ra=2"),
)


def _switches(context: Context, summary: str, evidence: dict[str, str | int]) -> Found:
    """Return what is found where ip_forward is 1: then each interface has a switch that is 0.

    Writing 1 to ip_forward again changes nothing: devinet_sysctl_forward (net/ipv4/devinet.c,
    v6.18) sets the interfaces only where the value changes.
    """
    names = closed_interfaces(context.snapshot)
    keys = {name: f"net/ipv4/conf/{name}/forwarding" for name in names}
    evidence["interfaces_disabled"] = ", ".join(list(keys)[:_NAMED])
    lines = [
        line
        for key in list(keys.values())[:_NAMED]
        for line in commands.set_sysctl(sysctl_names.to_name(key), 1)
    ]
    if len(keys) > _NAMED:
        lines.append(shell.comment(f"and so for {len(keys) - _NAMED} more interfaces"))
    if not keys:
        lines.append(commands.LIST_INTERFACES)
    return Found(
        summary,
        "net.ipv4.ip_forward is 1, but forwarding is 0 on each interface: the kernel drops"
        " packets for other hosts before it evaluates NAT rules. ip_forward only sets the value"
        " of new interfaces."
        if keys
        else "net.ipv4.ip_forward is 1, but this host has no interface except lo.",
        evidence,
        (*lines, *_blame(context, {*keys.values(), "net/ipv4/conf/default/forwarding"})),
    )


def _blame(context: Context, keys: set[str]) -> tuple[shell.Line, ...]:
    """Return comments on what disables forwarding again at the next boot, as far as is known."""
    found = or_none(lambda: sysctl_comparisons(context.snapshot))
    return tuple(
        shell.comment(f"{one.desired.origin} sets {one.desired.value}: change that")
        for one in (found.comparisons if found else ())
        if one.desired.key in keys and one.desired.value == 0
    )

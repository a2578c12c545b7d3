"""Checks of what makes NAT work at all: tracking and rules."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import FAMILY, NEEDS_ROLE, Context
from netfilter_exporter.check.findings import Found, count, unknown
from netfilter_exporter.check.shell import Line
from netfilter_exporter.facts.capabilities import capabilities
from netfilter_exporter.facts.conntrack import conntrack_entries, conntrack_present
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.facts.tracking import UDP_TIMEOUT, exempts_all
from netfilter_exporter.kernel.errors import ReadError, raise_worst
from netfilter_exporter.kernel.modules.capabilities import nearest
from netfilter_exporter.kernel.modules.model import ModuleState
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.rules.families import Family

_ENABLE = sysctl_names.CONNTRACK + "enable"


# -- NetfilterConntrackDisabled ----------------------------------------------------------------


def conntrack_disabled(context: Context) -> Iterator[Found]:
    """Packets are proven not to be tracked, and NAT needs that they are."""
    yield from _switched_off(context)
    yield from _expired(context)
    for family in Family:
        rules = context.rules(family)
        if context.unwanted(family) or context.only_ruleless(family):
            continue
        if rules or context.required(family):
            if error := context.unproven(family):
                yield unknown(f"{FAMILY[family]} tracking is not proven: {error}")
            elif not context.tracked(family):
                yield _untracked(context, family, rules)
        else:
            error = context.unread(family)
            yield unknown(f"Unknown: {error}" if error else NEEDS_ROLE[family])


def _switched_off(context: Context) -> Iterator[Found]:
    if sysctls(context.snapshot).values.get(_ENABLE) == 0:
        yield Found(
            "net.netfilter.nf_conntrack_enable is 0: connection tracking is disabled.",
            "Some vendor kernels have this sysctl, mainline never had it. Without tracking no"
            " rule translates.",
            {"net.netfilter.nf_conntrack_enable": 0},
            commands.set_sysctl(
                "net.netfilter.nf_conntrack_enable", 1, kernel_modules(context.snapshot)
            ),
        )


#: The seconds that an entry lives, and those that it has by default (Linux 6.18).
_TIMEOUTS = {
    UDP_TIMEOUT: ("UDP", 30),
    sysctl_names.CONNTRACK + "tcp_timeout_syn_sent": ("TCP", 120),
    sysctl_names.CONNTRACK + "tcp_timeout_established": ("TCP", 432000),
}


def _expired(context: Context) -> Iterator[Found]:
    """Find timeouts of 0: replies of that protocol match no entry, and are not translated."""
    for key, (protocol, default) in _TIMEOUTS.items() if context.judged else ():
        name = sysctl_names.to_name(key)
        if sysctls(context.snapshot).values.get(key) == 0:
            yield Found(
                f"{name} is 0: entries of {protocol} connections expire at once.",
                "Replies match no entry: they are not translated back, and this host drops them.",
                {name: 0},
                commands.set_sysctl(name, default, kernel_modules(context.snapshot)),
            )


def _untracked(context: Context, family: Family, rules: int) -> Found:
    name = FAMILY[family]
    present = conntrack_present(context.snapshot)
    evidence: dict[str, str | int] = {
        "family": family.value,
        "tracking": "off",
        "rules": rules,
        "conntrack": "present" if present else "absent",
    }
    if present:
        evidence["entries"] = conntrack_entries(context.snapshot)
    if rules:
        summary = f"{name}: {count(rules, 'NAT rule')} listed, and no packet is tracked."
    else:
        summary = f"{name}: NAT is required, and no packet is tracked."
    if present and exempts_all(context.snapshot, family):
        return Found(summary, _EXEMPT, evidence, _find_notrack(context, family))
    why = f"{_why_untracked(present, rules)}{_hindrance(context)}"
    return Found(summary, why, {**evidence, **context.obstacles}, _track(context, family, rules))


_EXEMPT = (
    "A notrack rule without a match exempts all received packets. Untracked packets are not"
    " translated."
)


def _find_notrack(context: Context, family: Family) -> tuple[Line, ...]:
    return (
        *(
            commands.list_notrack(ruleset.backend, family)
            for ruleset in context.rulesets
            if family in ruleset.facts.untracked
        ),
        shell.comment("delete that rule, or give it a match"),
    )


def _why_untracked(present: bool, rules: int) -> str:
    if not present:
        return "nf_conntrack is not in the kernel, and NAT requires it."
    if rules:
        return (
            "nf_conntrack is present, but its hooks are not registered for this family: the"
            " module for the family is missing, or was removed by force. The rules are still"
            " listed."
        )
    return (
        "nf_conntrack is present, but no rule requires it, so its hooks are not registered: a"
        " loaded module tracks nothing by itself. Remaining entries only expire. Usually a"
        " program has flushed the rules."
    )


def _track(context: Context, family: Family, rules: int) -> tuple[Line, ...]:
    modules = kernel_modules(context.snapshot)
    lines = commands.load(modules, (*commands.OF_FAMILY[family], *_hindering(context)))
    if not modules.loading:
        lines = (shell.comment("this kernel has all modules built in: nothing to load"),)
    if modules.forced_unload:
        lines += (shell.comment("a module was forced out: if this does not help, reboot"),)
    if not rules or context.hindered or not commands.loads_any(lines):
        lines += restore_rules(context)
    return lines


def _hindrance(context: Context) -> str:
    """Return why the rules could not be loaded again, where that is known."""
    if not context.obstacles:
        return ""
    reasons = ", ".join(f"{module} ({reason})" for module, reason in context.obstacles.items())
    return f" Rules cannot be loaded while the kernel cannot load a module: {reasons}."


def _hindering(context: Context) -> list[str]:
    """Return the modules of the capabilities whose lack keeps rules from being loaded."""
    modules = kernel_modules(context.snapshot)
    return [module for name in context.hindered for module in nearest(modules, name)]


def restore_rules(context: Context) -> tuple[Line, ...]:
    """Return what brings the rules back: whoever writes them, writes them again."""
    managers = context.managers
    if managers:
        names = ", ".join(manager.name for manager in managers)
        head = shell.comment(f"these programs run here, and write their rules again: {names}")
        return (head, *(manager.remedy for manager in managers))
    return (
        shell.comment("load the rules again, for example:"),
        shell.comment("nft -f /etc/nftables.conf"),
        shell.comment("iptables-restore < /etc/iptables/rules.v4"),
    )


# -- NetfilterNatRulesGone ---------------------------------------------------------------------


def nat_rules_gone(context: Context) -> Iterator[Found]:
    """NAT is required, and every ruleset was read, and there is no translating rule."""
    errors: list[ReadError] = []
    for family in Family:
        unread = context.unread(family)
        if context.rules(family) or context.unwanted(family):
            continue
        if unread:
            errors.append(unread)
        elif context.needs_rules(family):
            yield Found(
                f"{FAMILY[family]}: NAT is required, and there is no translating rule.",
                "Every ruleset of this network namespace was read. A firewall reload, or 'nft flush"
                f" ruleset', also removes the rules of other programs.{_hindrance(context)}",
                {"family": family.value, "rules": 0, **context.obstacles},
                (
                    *commands.load(kernel_modules(context.snapshot), _hindering(context)),
                    *restore_rules(context),
                ),
            )
        elif not context.ruleless(family):
            yield unknown(NEEDS_ROLE[family])
    raise_worst(errors)


# -- NetfilterConntrackNetlinkMissing ----------------------------------------------------------


def conntrack_netlink_missing(context: Context) -> Iterator[Found]:
    """Find ctnetlink absent and required: tracking cannot be proven."""
    modules = kernel_modules(context.snapshot)
    names = ("nfnetlink", "nf_conntrack_netlink")
    if not context.doing_nat or False not in [modules.usable(name) for name in names]:
        return
    blind = all(context.tracked(family) is None for family in Family)
    if blind or capabilities(context.snapshot)["conntrack_netlink"] is False:
        yield Found(
            "ctnetlink is not in the kernel now.",
            "conntrack(8) requires it. The exporter loads no module: without ctnetlink,"
            " tracking stays unproven if hooks cannot be listed.",
            {name: modules.known[name].state.value for name in names},
            commands.load(modules, names),
        )


# -- NetfilterModuleForcedUnload ---------------------------------------------------------------


def module_forced_unload(context: Context) -> Iterator[Found]:
    """Somebody forced a module out, and tracking is off or its core is absent."""
    modules = kernel_modules(context.snapshot)
    if not modules.forced_unload:
        return
    present = conntrack_present(context.snapshot)
    wanting = [family for family in Family if context.rules(family) or context.required(family)]
    tracked = [context.tracked(family) for family in wanting or Family]
    off = False in tracked if wanting else set(tracked) == {False}
    if present and not off:
        return
    absent = [m.name for m in modules.info.values() if m.state is ModuleState.AVAILABLE]
    yield Found(
        "A kernel module was removed by force since boot, and connections are not tracked.",
        "After a forced removal rules are listed and have no effect; on some kernels the next"
        " packet crashes the kernel. The taint stays until the next boot.",
        {"tainted": 8, "conntrack": "present" if present else "absent", "not_loaded": len(absent)},
        (
            *commands.load(modules, [n for f in wanting for n in commands.OF_FAMILY[f]]),
            shell.comment("this kernel may crash or misbehave: reboot soon"),
        ),
    )
